"""Writes checkpoints in the background: each rank its part, then, once all parts are on disk, rank 0 the whole.

A thread of each rank waits for its part and leaves a marker file; that of rank 0 waits for all markers and commits the
checkpoint. Training does not wait for it, so a checkpoint is valid as soon as it can be, however long the steps are.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fullcircle.training.checkpoints.checkpoint_store import Checkpoints
from fullcircle.training.ports import Pending, ProcessGroup, Tensors, TrainEngine

LOOK_EVERY_S = 0.01
WRITTEN = "rank-{}.written"


class AsyncCheckpointer:
    """The checkpoints of one rank. `begin` and `finish` are collective: all ranks call them, in one order.

    Attributes:
        at: when the last one was begun (`time.monotonic`).
        seconds: how long training stood still for them, all in all.
    """

    def __init__(self, checkpoints: Checkpoints, engine: TrainEngine, process_group: ProcessGroup) -> None:
        self.checkpoints = checkpoints
        self.at = time.monotonic()
        self.seconds = 0.0
        self._engine = engine
        self._process_group = process_group
        self._writing: Future[None] | None = None
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def begin(self, step: int, meta: dict[str, Any], best: Tensors) -> None:
        """Begin the checkpoint of this step, as all is now; the one before it is valid first.

        Raises:
            HomeUnwritable: the disk is full; the checkpoint before is intact.
        """
        started = time.perf_counter()
        self.finish()
        if self._process_group.rank == 0:
            self.checkpoints.begin(step)
        self._barrier()  # nobody writes before the folder is there
        try:
            pending = self._engine.save(self.checkpoints.part(step))
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error
        self._writing = self._thread.submit(self._finish_write, step, pending, meta, best)
        self.at = time.monotonic()
        self.seconds += time.perf_counter() - started

    def check(self) -> None:
        """Raise what went wrong with the one that is being written, if something did: HomeUnwritable."""
        if self._writing is not None and self._writing.done():
            self._writing.result()

    def finish(self) -> None:
        """Wait until the one that is being written is valid. Raises HomeUnwritable."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        writing.result()
        self._barrier()

    def close(self) -> None:
        """End the thread. Not collective, safe to call twice."""
        self._closed.set()
        self._thread.shutdown(wait=True)

    def _finish_write(self, step: int, pending: Pending, meta: dict[str, Any], best: Tensors) -> None:
        part, process_group = self.checkpoints.part(step), self._process_group
        try:
            pending.wait()
            if process_group.size > 1:
                (part / WRITTEN.format(process_group.rank)).touch()
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error
        if process_group.rank != 0:
            return
        if process_group.size > 1:
            marks = [part / WRITTEN.format(rank) for rank in range(process_group.size)]
            while not all(mark.exists() for mark in marks):
                if self._closed.wait(LOOK_EVERY_S):  # a rank that failed ends us all
                    return
            for mark in marks:
                mark.unlink()
        self.checkpoints.commit(step, meta, best)

    def _barrier(self) -> None:
        if self._process_group.size > 1:
            self._process_group.sum_over_ranks(np.zeros(1))
