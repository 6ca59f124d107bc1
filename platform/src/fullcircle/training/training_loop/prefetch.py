"""Prefetches batches: a thread gathers the rows of the next chunk of steps from the memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.training import Arrays
from fullcircle.core.tasks import Link, Task, Weighting
from fullcircle.training.ports import Chunk, ProcessGroup
from fullcircle.training.training_loop.sampler import Share, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

PrefetchedChunk = tuple[Chunk, Share]


@dataclass(frozen=True)
class TrainingTargets:
    """What is made of the targets of a few rows: their weights, and what the loss compares with."""

    task: Task
    weighting: Weighting
    link: Link

    def of(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Targets in the space of the loss (`Task.training_targets`)."""
        return self.task.training_targets(targets, self.link)


class BatchPrefetcher:
    """Gathers chunks for one rank. `open_prefetcher` makes it and ends its thread."""

    def __init__(
        self,
        arrays: Arrays,
        targets: TrainingTargets,
        batch_size: int,
        process_group: ProcessGroup,
        thread: ThreadPoolExecutor,
    ):
        self._arrays = arrays
        self._targets = targets
        self._batch_size = batch_size
        self._process_group = process_group
        self._thread = thread

    def gather(self, order: NDArray[np.int64], start: int, steps: int, first: int) -> PrefetchedChunk:
        """The batches `start` to `start + steps - 1` of an epoch's order; `first` is the number of the first step."""
        own = share(order, self._batch_size, start, steps, rank=self._process_group.rank, size=self._process_group.size)
        flat = own.rows.reshape(-1)
        x = self._arrays.x_train.take(flat, axis=0).reshape(*own.rows.shape, *self._arrays.shape)
        y = self._arrays.y_train.take(flat, axis=0)
        w = self._targets.weighting.rows(y).reshape(own.rows.shape)
        y = self._targets.of(y)
        y = y.reshape(*own.rows.shape, *y.shape[1:])
        if not own.present.all():
            w = w * own.present
        return Chunk(first, np.asarray(x), np.asarray(y), w, own.counts), own

    def prefetch(self, order: NDArray[np.int64], start: int, steps: int, first: int) -> Future[PrefetchedChunk]:
        """Begin to gather in the background."""
        return self._thread.submit(self.gather, order, start, steps, first)


@contextmanager
def open_prefetcher(
    arrays: Arrays, targets: TrainingTargets, batch_size: int, process_group: ProcessGroup
) -> Iterator[BatchPrefetcher]:
    """A feeder with a thread of its own, for the length of a training."""
    with ThreadPoolExecutor(1, thread_name_prefix="feeder") as thread:
        yield BatchPrefetcher(arrays, targets, batch_size, process_group, thread)
