"""A rank's part of a Keras checkpoint: rank 0 writes model and optimizer, every rank its own random state."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.training.on_keras.backend import tf
from fullcircle.training.ports import Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODEL = "keras"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class PendingWrite:
    """A part of a checkpoint that is being written by a thread (`ports.Pending`)."""

    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def done(self) -> bool:
        """Whether this rank's part is on disk. Raises what went wrong (OSError: disk full)."""
        if not self._future.done():
            return False
        self._future.result()
        return True

    def wait(self) -> None:
        """Block until it is. Raises what went wrong."""
        self._future.result()


def write_state(folder: Path, state: Tensors) -> None:
    """Write arrays as a TensorFlow checkpoint. Raises OSError when the disk is full or the folder read-only."""
    variables = {name.replace("/", "-"): tf.Variable(values) for name, values in state.items()}
    try:
        tf.train.Checkpoint(**variables).write(str(folder / _MODEL))
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {folder / _MODEL} ({error.message.splitlines()[0]})") from error


def read_state(folder: Path) -> Tensors:
    """What `write_state` wrote.

    Raises:
        ValueError: no checkpoint of ours, or a damaged one.
    """
    try:
        reader = tf.train.load_checkpoint(str(folder / _MODEL))
        names = [name for name in reader.get_variable_to_shape_map() if name.endswith(_VALUE)]
        return {name.removesuffix(_VALUE).replace("-", "/"): reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ValueError(f"no Keras checkpoint in {folder} ({str(error).splitlines()[0]})") from error


def write_seeds(folder: Path, rank: int, seeds: NDArray[np.int64]) -> None:
    """Write one rank's random state, int64 (replicas, generators, 2)."""
    with (folder / f"seeds-{rank}.npy").open("wb") as stream:
        np.save(stream, seeds, allow_pickle=False)


def read_seeds(folder: Path, rank: int) -> NDArray[np.int64] | None:
    """One rank's random state; None when the process group that wrote the checkpoint had no such rank."""
    path = folder / f"seeds-{rank}.npy"
    if not path.is_file():
        return None
    seeds: NDArray[Any] = np.load(path, allow_pickle=False)
    return seeds
