"""The main program of a pool's worker: `python -m fullcircle.training.worker_main DESCRIPTOR PARENT`."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection

from fullcircle.core.errors import FullcircleError, Preempted, TrainingFailed
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import quiet_dependencies
from fullcircle.core.system.processes import die_with_parent
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launch import launch
from fullcircle.training.training_loop.event_log import NullListener
from fullcircle.training.worker_pool import EpochDone, JobDone, JobFailed, JobStopped, Message


class _StopTrial(Exception):
    """The answer to an epoch: not to go on."""


class _PipeListener(NullListener):
    """Tells each epoch, and waits for the answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def epoch(self, metrics: EpochMetrics) -> None:
        self._connection.send(EpochDone(metrics=metrics))
        if not self._connection.recv():
            raise _StopTrial


def main(descriptor: int, parent: int) -> None:
    """Train one job after the other until nobody sends any more."""
    # SIGKILL: no checkpoint is worth outliving whoever would go on with it; the one before stands.
    die_with_parent(parent, signal.SIGKILL)()
    quiet_dependencies()
    with Connection(descriptor) as connection:
        while True:
            try:
                job: TrainJob = connection.recv()
            except EOFError:
                return
            connection.send(_train(job, connection))


def _train(job: TrainJob, connection: Connection) -> Message:
    try:
        outcome = launch(job, where="inline", listener=_PipeListener(connection))
    except _StopTrial:
        return JobStopped()
    except Preempted:
        raise  # told to stop, and not by the pool: to it, this process died
    except FullcircleError as error:
        return JobFailed(error=error)
    except EOFError:
        raise  # nobody listens any more
    except Exception as error:  # noqa: BLE001 - the project's own code: whatever it raises, this job came to nothing
        traceback.print_exc()
        what = f"{job.framework}: {type(error).__name__}: {' '.join(str(error).split())}"
        return JobFailed(error=TrainingFailed(what, hint="the model function or one of its parameters is at fault"))
    return JobDone(history=outcome.history, best_epoch=outcome.best_epoch, notes=outcome.warnings)


if __name__ == "__main__":
    words: Sequence[str] = sys.argv[1:]
    main(int(words[0]), int(words[1]))
