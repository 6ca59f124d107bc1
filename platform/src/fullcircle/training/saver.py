"""When a checkpoint is begun, written while training goes on, and made valid once every rank has written its part."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fullcircle.training.checkpoints import Checkpoints
from fullcircle.training.ports import Learner, Pending, Tensors, World


class Saver:
    """Writes the checkpoints of one rank. Every method but `written` is collective: all ranks call it in one order."""

    def __init__(self, checkpoints: Checkpoints, learner: Learner, world: World) -> None:
        self.checkpoints = checkpoints
        self.at = time.monotonic()
        self.seconds = 0.0
        self._learner = learner
        self._world = world
        self._pending: tuple[int, Pending, dict[str, Any], Tensors] | None = None
        self._committing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def begin(self, step: int, meta: dict[str, Any], best: Tensors) -> None:
        """Begin the checkpoint of this step; the one before it is made valid first.

        Raises:
            HomeUnwritable: the disk is full; the checkpoint before is intact.
        """
        started = time.perf_counter()
        self.finish()
        if self._world.rank == 0:
            self.checkpoints.begin(step)
        self._together()  # nobody writes before the folder is there
        try:
            self._pending = (step, self._learner.save(self.checkpoints.part(step)), meta, best)
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error
        self.at = time.monotonic()
        self.seconds += time.perf_counter() - started

    def written(self) -> bool:
        """Whether this rank's part of the checkpoint that is under way is on disk. False when there is none.

        Raises:
            HomeUnwritable: it could not be written.
        """
        if self._pending is None:
            return False
        try:
            return self._pending[1].done()
        except OSError as error:
            raise self.checkpoints.unwritable(error) from error

    def commit(self) -> None:
        """Make the checkpoint under way valid, in the background: every rank has said that its part is `written`."""
        assert self._pending is not None, "only after begin()"
        step, _, meta, best = self._pending
        self._pending = None
        if self._world.rank == 0:
            self._committing = self._thread.submit(self.checkpoints.commit, step, meta, best)

    def finish(self) -> None:
        """Wait until what is under way is valid. Raises HomeUnwritable."""
        if self._pending is not None:
            try:
                self._pending[1].wait()
            except OSError as error:
                raise self.checkpoints.unwritable(error) from error
            self._together()
            self.commit()
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.result()

    def close(self) -> None:
        """End the thread. Not collective, safe to call twice."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _together(self) -> None:
        if self._world.size > 1:
            self._world.total(np.zeros(1))
