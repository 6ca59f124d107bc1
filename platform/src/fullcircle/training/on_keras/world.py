"""The processes of a job as TensorFlow sees them: one alone, or workers that find each other through the launcher."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Compute
from fullcircle.training.on_keras import strategy
from fullcircle.training.on_keras.backend import require_tensorflow, tf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TensorWorld:
    """The processes of one job (`ports.World`), alone on one device.

    A *replica* is one device's copy of the model; a process has one for each of its devices.
    """

    rank = 0
    size = 1
    replicas = 1
    """Copies of the model in this process."""
    all_replicas = 1
    """Copies of the model in all processes."""

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks, element by element, the same bits on each. Shape: any, equal on all ranks."""
        return values.copy()

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made within it are copied to every replica."""
        return contextlib.nullcontext()

    def parts(self, variable: Any) -> list[Any]:
        """A Keras variable's own value on each of this process's replicas."""
        return [variable.value]

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Do the step on every replica of this process: float64 (3,) of losses summed, norm, seconds of waiting."""
        return step(*args)

    def share(self, *rows: Any) -> tuple[Any, ...]:
        """Within a step: the rows of this replica."""
        return rows

    def summed(self, gradients: list[Any]) -> tuple[list[Any], Any]:
        """Within a step: the sum of the gradients over all replicas, and the seconds that it took to come."""
        return gradients, tf.constant(0.0, tf.float64)


@contextlib.contextmanager
def opened(compute: Compute) -> Iterator[TensorWorld]:
    """The world of this process; nothing of TensorFlow may have run before.

    Raises:
        UsageError: Keras is set to another backend, or the device is not to be had.
    """
    require_tensorflow()
    strategy.settle_devices(compute)
    yield TensorWorld()
