"""A process of a pool: `python -m fullcircle.training.pooled DESCRIPTOR PARENT`. It trains what it is sent."""

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
from fullcircle.training.journal import Silent
from fullcircle.training.pool import Done, Epoch, Failed, Message, Stopped


class _ToldToStop(Exception):
    """The answer to an epoch: not to go on."""


class _Telling(Silent):
    """Tells each epoch, and waits for the answer."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def epoch(self, metrics: EpochMetrics) -> None:
        self._line.send(Epoch(metrics=metrics))
        if not self._line.recv():
            raise _ToldToStop


def main(descriptor: int, parent: int) -> None:
    """Train one job after the other until nobody sends any more."""
    # SIGKILL: no checkpoint is worth outliving whoever would go on with it; the one before stands.
    die_with_parent(parent, signal.SIGKILL)()
    quiet_dependencies()
    with Connection(descriptor) as line:
        while True:
            try:
                job: TrainJob = line.recv()
            except EOFError:
                return
            line.send(_trained(job, line))


def _trained(job: TrainJob, line: Connection) -> Message:
    from fullcircle.training.launch import launch

    try:
        outcome = launch(job, where="inline", listener=_Telling(line))
    except _ToldToStop:
        return Stopped()
    except Preempted:
        raise  # told to stop, and not by the pool: to it, this process died
    except FullcircleError as error:
        return Failed(error=error)
    except EOFError:
        raise  # nobody listens any more
    except Exception as error:  # noqa: BLE001 - the project's own code: whatever it raises, this job came to nothing
        traceback.print_exc()
        what = f"{job.framework}: {type(error).__name__}: {' '.join(str(error).split())}"
        return Failed(error=TrainingFailed(what, hint="the model function or one of its parameters is at fault"))
    return Done(history=outcome.history, best_epoch=outcome.best_epoch, notes=outcome.warnings)


if __name__ == "__main__":
    words: Sequence[str] = sys.argv[1:]
    main(int(words[0]), int(words[1]))
