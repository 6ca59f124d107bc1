"""Writes checkpoints while training goes on: a rank's part, then, once every rank has its part on disk, the whole.

A thread of each rank waits for its part and leaves a mark; that of rank 0 waits for all marks and makes the checkpoint
valid. Training does not wait for it, so a checkpoint is valid as soon as it can be, however long the steps are.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fullcircle.training.checkpoints import Checkpoints
from fullcircle.training.ports import Learner, Pending, Tensors, World

LOOK_EVERY_S = 0.01
WRITTEN = "rank-{}.written"


class Saver:
    """The checkpoints of one rank. `begin` and `finish` are collective: all ranks call them, in one order.

    Attributes:
        at: when the last one was begun (`time.monotonic`).
        seconds: how long training stood still for them, all in all.
    """

    def __init__(self, checkpoints: Checkpoints, learner: Learner, world: World) -> None:
        self.checkpoints = checkpoints
        self.at = time.monotonic()
        self.seconds = 0.0
        self._learner = learner
        self._world = world
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
        if self._world.rank == 0:
            self.checkpoints.begin(step)
        self._together()  # nobody writes before the folder is there
        try:
            pending = self._learner.save(self.checkpoints.part(step))
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error
        self._writing = self._thread.submit(self._settle, step, pending, meta, best)
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
        self._together()

    def close(self) -> None:
        """End the thread. Not collective, safe to call twice."""
        self._closed.set()
        self._thread.shutdown(wait=True)

    def _settle(self, step: int, pending: Pending, meta: dict[str, Any], best: Tensors) -> None:
        part, world = self.checkpoints.part(step), self._world
        try:
            pending.wait()
            if world.size > 1:
                (part / WRITTEN.format(world.rank)).touch()
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error
        if world.rank != 0:
            return
        if world.size > 1:
            marks = [part / WRITTEN.format(rank) for rank in range(world.size)]
            while not all(mark.exists() for mark in marks):
                if self._closed.wait(LOOK_EVERY_S):  # a rank that failed ends us all
                    return
            for mark in marks:
                mark.unlink()
        self.checkpoints.commit(step, meta, best)

    def _together(self) -> None:
        if self._world.size > 1:
            self._world.total(np.zeros(1))
