"""The `inline` launcher: trains in the caller's own process, so that a breakpoint in the model works."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fullcircle.training import rank_main
from fullcircle.training.launchers import rank_guard, tpu

if TYPE_CHECKING:
    from fullcircle.training.jobs import TrainJob
    from fullcircle.training.training_loop.event_log import Listener


def run(job: TrainJob, listener: Listener) -> int:
    """Run a job in this process. Returns 0: nobody replaces it.

    Raises:
        FullcircleError: as `training.rank_main.run`.
    """
    if job.compute.device == "tpu":
        for name, value in tpu.environment(job.framework).items():
            os.environ.setdefault(name, value)
    guard = rank_guard.guard_rank(job, 0)
    try:
        rank_main.run_rank(job, listener=listener)
    finally:
        guard.close()
    return 0
