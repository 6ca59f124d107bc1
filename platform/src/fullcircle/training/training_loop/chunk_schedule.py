"""Adapts how many steps make a chunk, and says when a checkpoint is due; every rank decides the same."""

from __future__ import annotations

from fullcircle.core.project import Compute

SHORT_S, LONG_S = 0.1, 0.5
"""A chunk that took less is doubled, one that took more is halved: signals are looked at several times a second."""

MOST_STEPS = 64
MOST_ROWS = 262_144
"""Bounds of a chunk: what is gathered at once stays some tens of megabytes for a table."""


class ChunkSchedule:
    """The size of the next chunk."""

    def __init__(self, compute: Compute, batch_size: int) -> None:
        self._compute = compute
        self._batch_size = batch_size
        self._size = 1

    def steps(self, rows: int, position: int, step: int) -> int:
        """Steps of the chunk at this position of an epoch of so many rows: batches of equal size only, none past the
        next checkpoint, 0 at the end of the epoch."""
        full, last = divmod(rows, self._batch_size)
        if position >= full:
            return 1 if last and position == full else 0
        steps = min(self._size, full - position)
        every = self._compute.checkpoint_every_steps
        return min(steps, every - step % every) if every else steps

    def adapt(self, seconds: float) -> None:
        """A chunk took so long on rank 0."""
        if seconds < SHORT_S:
            most = min(MOST_STEPS, max(1, MOST_ROWS // self._batch_size))
            self._size = min(self._size * 2, most)
        elif seconds > LONG_S:
            self._size = max(self._size // 2, 1)

    def due(self, since_s: float) -> bool:
        """Whether the last checkpoint is too old."""
        every = self._compute.checkpoint_every_s
        return every is not None and since_s >= every

    def is_checkpoint(self, step: int) -> bool:
        """Whether this step is one after which a checkpoint is written."""
        every = self._compute.checkpoint_every_steps
        return every is not None and step % every == 0
