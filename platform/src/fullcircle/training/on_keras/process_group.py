"""TensorFlow's process group of one job: one process alone, several devices of one process, or several workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import Preempted
from fullcircle.core.project import Compute
from fullcircle.training.on_keras import strategy
from fullcircle.training.on_keras.backend import require_tensorflow, tf
from fullcircle.training.on_keras.rendezvous import Workers, workers

if TYPE_CHECKING:
    from numpy.typing import NDArray


class KerasProcessGroup:
    """The processes of one job (`ports.ProcessGroup`): this one alone, on one device, without any strategy.

    A *replica* is one device's copy of the model; a process has one for each of its devices.
    """

    rank = 0
    size = 1
    replicas = 1
    """Copies of the model in this process."""
    all_replicas = 1
    """Copies of the model in all processes."""
    measures = True
    """Whether `summed` knows how long it waited."""
    open_shapes = True
    """Whether a graph may leave the number of rows open. A TPU's may not."""

    def sum_over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks, element by element, the same bits on each. Shape: any, equal on all ranks."""
        return values.copy()

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made within it are copied to every replica."""
        return contextlib.nullcontext()

    def parts(self, variable: Any) -> list[Any]:
        """A Keras variable's own value on each of this process's replicas."""
        return [variable.value]

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Do the step on every replica of this process: float64 (3,) of loss summed, norm, seconds of waiting."""
        return step(*args)

    def share(self, *rows: Any) -> tuple[Any, ...]:
        """Within a step: the rows of this replica."""
        return rows

    def summed(self, gradients: list[Any]) -> tuple[list[Any], Any]:
        """Within a step: the sum of the gradients over all replicas, and the seconds that it took to come."""
        return gradients, tf.constant(0.0, tf.float64)


class StrategyProcessGroup(KerasProcessGroup):
    """A process group whose replicas a TensorFlow strategy joins: several devices, several processes, or both."""

    def __init__(self, tensor_strategy: Any, joined: Workers | None) -> None:
        on_tpu = isinstance(tensor_strategy, tf.distribute.TPUStrategy)
        self.measures = self.open_shapes = not on_tpu  # a TPU's graph is XLA: without a clock, and of fixed shapes
        self.rank = joined.rank if joined else 0
        self.size = joined.size if joined else 1
        self.all_replicas = tensor_strategy.num_replicas_in_sync
        self.replicas = self.all_replicas // self.size
        self._strategy = tensor_strategy
        self._total = tf.function(
            self._summed_values, autograph=False, input_signature=[tf.TensorSpec((None,), tf.float64)]
        )

    def sum_over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks, element by element, the same bits on each. Shape: any, equal on all ranks."""
        if self.size == 1:
            return values.copy()
        sums: NDArray[np.float64] = self._total(np.asarray(values, dtype=np.float64).reshape(-1)).numpy()
        return sums.reshape(np.shape(values))

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made within it are copied to every replica; rank 0's first values go to all."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def parts(self, variable: Any) -> list[Any]:
        """A Keras variable's own value on each of this process's replicas."""
        return list(self._strategy.experimental_local_results(variable.value))

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Do the step on every replica of this process: float64 (3,) of loss summed, norm, seconds of waiting."""
        results = self._strategy.experimental_local_results(self._strategy.run(step, args=args))
        return tf.concat([[tf.add_n([result[0] for result in results])], results[0][1:]], axis=0)

    def share(self, *rows: Any) -> tuple[Any, ...]:
        """Within a step: the rows of this replica, as many as of any other; the last of `rows` are their weights.

        Where the rows do not go round, the last one is repeated with weight 0.
        """
        if self.replicas == 1:
            return rows
        count = rows[0].shape[0] or tf.shape(rows[0])[0]
        each = -(-count // self.replicas)
        own = self._replica() * each + tf.range(each)
        shares = [tf.gather(values, tf.minimum(own, count - 1)) for values in rows]
        return (*shares[:-1], shares[-1] * tf.cast(own < count, tf.float32))

    def summed(self, gradients: list[Any]) -> tuple[list[Any], Any]:
        """Within a step: the sum of the gradients over all replicas, and the seconds that it took to come."""
        # The clock is read when this replica's gradients are there, and when everybody's are. One flat sum: a
        # message for each of many small tensors would cost more than what is in them.
        flat = tf.concat([tf.reshape(gradient, (-1,)) for gradient in gradients], axis=0)
        before = self._clock(flat)
        with tf.control_dependencies([before]):
            flat = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(flat))
        waited = self._clock(flat) - before
        parts = tf.split(flat, [gradient.shape.num_elements() for gradient in gradients])
        return [tf.reshape(part, old.shape) for part, old in zip(parts, gradients, strict=True)], waited

    def _summed_values(self, values: Any) -> Any:
        def once(values: Any) -> Any:
            own = tf.identity(values)  # on this replica's device: what comes from outside is on none
            if self.replicas > 1:
                own = tf.where(self._replica() == 0, own, tf.zeros_like(own))
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

        return self._strategy.experimental_local_results(self._strategy.run(once, args=(values,)))[0]

    def _clock(self, after: Any) -> Any:
        """Seconds, read when the tensor is there."""
        if not self.measures:
            return tf.constant(0.0, tf.float64)
        with tf.control_dependencies([after]):
            return tf.timestamp()

    def _replica(self) -> Any:
        """Number of the replica within this process, from 0."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group - self.rank * self.replicas


@contextlib.contextmanager
def join_process_group(compute: Compute) -> Iterator[KerasProcessGroup]:
    """The process group of this process; nothing of TensorFlow may have run before.

    Raises:
        UsageError: Keras is set to another backend, or the device is not to be had.
    """
    require_tensorflow()
    with workers() as joined:
        strategy.configure_devices(compute)
        if joined is not None:
            process_group: KerasProcessGroup = StrategyProcessGroup(strategy.of_workers(joined, compute), joined)
        elif (alone := strategy.of_one_process(compute)) is not None:
            process_group = StrategyProcessGroup(alone, None)
        else:
            process_group = KerasProcessGroup()
        try:
            yield process_group
        except Preempted:  # all ranks agreed on it
            _leave_together(process_group)
            raise
        _leave_together(process_group)


def _leave_together(process_group: KerasProcessGroup) -> None:
    """Wait for the others: who leaves first takes their connection down. One that died holds nobody back."""
    with contextlib.suppress(tf.errors.OpError):
        process_group.sum_over_ranks(np.zeros(1))
