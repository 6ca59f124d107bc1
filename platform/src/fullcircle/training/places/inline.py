"""`inline`: the caller's own process, without any launcher, so that a breakpoint in the model works."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fullcircle.training.places import rank, tpu

if TYPE_CHECKING:
    from fullcircle.training.jobs import TrainJob
    from fullcircle.training.journal import Listener


def run(job: TrainJob, listener: Listener) -> int:
    """Run a job in this process. Returns 0: nobody replaces it.

    Raises:
        FullcircleError: as `training.worker.run`.
    """
    from fullcircle.training import worker

    if job.compute.device == "tpu":
        for name, value in tpu.environment(job.framework).items():
            os.environ.setdefault(name, value)
    armed = rank.arm(job, 0)
    try:
        worker.run(job, listener=listener)
    finally:
        armed.close()
    return 0
