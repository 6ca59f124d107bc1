"""The order of rows in an epoch, one for every framework and every number of processes (a distributed sampler).

The order of an epoch is `permutation(seed, epoch)`, cut into global batches; each rank takes its slice of each batch.
So the position of a training is two numbers, epoch and batch: a resume needs no generator's state, and may have
another number of processes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def row_order(seed: int, epoch: int, rows: int, batch_size: int) -> NDArray[np.int64]:
    """The rows of one epoch, shuffled. A last batch of one row is left out: batch normalisation cannot take it."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[:-1] if rows > 1 and rows % batch_size == 1 else order


def steps_of(rows: int, batch_size: int) -> int:
    """Batches in an epoch's order of so many rows; the last one may be smaller."""
    return -(-rows // batch_size)


@dataclass(frozen=True)
class Share:
    """One rank's part of some batches of equal size.

    Attributes:
        rows: int64 (steps, rows of the rank). present: bool, the same shape; False for a filler.
        counts: int64 (steps,), rows of each whole batch.
        checksums: CRC-32 of the row numbers of each whole batch, the same on every rank: it names the samples.
    """

    rows: NDArray[np.int64]
    present: NDArray[np.bool_]
    counts: NDArray[np.int64]
    checksums: tuple[int, ...]


def share(order: NDArray[np.int64], batch_size: int, start: int, steps: int, *, rank: int, size: int) -> Share:
    """A rank's slice of the batches `start` to `start + steps - 1` of an epoch, which are of equal size.

    Every rank gets equally many rows; where a batch cannot be divided, the last ranks' slices are filled up with the
    batch's first row, marked as not present.
    """
    batches = order[start * batch_size : (start + steps) * batch_size].reshape(steps, -1)
    count = batches.shape[1]
    per_rank = -(-count // size)
    first = rank * per_rank
    own = batches[:, first : first + per_rank]
    missing = per_rank - own.shape[1]
    present = np.ones(own.shape, dtype=bool)
    if missing:
        own = np.concatenate([own, np.repeat(batches[:, :1], missing, axis=1)], axis=1)
        present = np.concatenate([present, np.zeros((steps, missing), dtype=bool)], axis=1)
    checksums = tuple(zlib.crc32(np.ascontiguousarray(batch).tobytes()) for batch in batches)
    return Share(own, present, np.full(steps, count, dtype=np.int64), checksums)
