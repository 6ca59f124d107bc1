"""SIGTERM and SIGINT handling for launcher and ranks, and the lock that lets one launcher alone have a job."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from fullcircle.core.errors import Preempted, TrainingFailed
from fullcircle.core.settings import home_unwritable
from fullcircle.training.jobs import FATAL, PREEMPTED, RESULT, TrainJob
from fullcircle.training.launchers import rank_processes
from fullcircle.training.launchers.rank_guard import STOPPING

ORPHANS_S = 60.0
"""Time that ranks of a dead launcher have to end: they may be writing their last checkpoint."""


@contextlib.contextmanager
def exclusive_launch(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Be the only launcher of a job: ranks that a killed launcher left behind are ended first.

    Raises:
        TrainingFailed: another launcher has this job right now.
        HomeUnwritable: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "launch.lock").open("a")
    except OSError as error:
        raise home_unwritable(folder, error) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when we die
        except OSError as error:
            raise TrainingFailed(
                f"{folder.name} is being trained by another process", hint="wait for it, or stop that process"
            ) from error
        for rank in rank_processes.end_orphans(folder, ORPHANS_S):
            note(f"rank {rank.rank} of a launcher that was killed (process {rank.pid}) was still there and was ended")
        (folder / STOPPING).unlink(missing_ok=True)
        yield


def ranks_reported(job: TrainJob) -> bool:
    """Whether the ranks wrote down why they ended early; whoever launched the job reads it."""
    return any((job.folder / name).exists() for name in (FATAL, PREEMPTED))


def raise_if_unfinished(job: TrainJob) -> None:
    """Raise Preempted when ranks that were told to stop left neither a result nor word of a last checkpoint."""
    if not ranks_reported(job) and not (job.folder / RESULT).exists():
        raise Preempted(
            f"training of {job.project} ({job.framework}) was told to stop and wrote no checkpoint within "
            f"{job.compute.grace_s:.0f} s",
            hint="the checkpoint before it stands, and a resume goes on from there",
        )


class StopRequest:
    """Whether this launcher was told to stop."""

    def __init__(self, folder: Path, on_stop: Callable[[], None], *, by_signal: bool) -> None:
        self.requested = False
        self._folder, self._on_stop, self._by_signal = folder, on_stop, by_signal

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: pass it on. The file first, so that a rank that is about to start learns of it, too."""
        self.requested = True
        (self._folder / STOPPING).write_text(json.dumps({"pid": os.getpid(), "at": time.time()}))
        self._on_stop()
        for rank in rank_processes.read(self._folder) if self._by_signal else ():
            rank.send(signal.SIGTERM)

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Handle Ctrl-C: whoever sits there wants it to end now. The last checkpoint stands."""
        for rank in rank_processes.read(self._folder):
            rank.send(signal.SIGKILL)
        raise KeyboardInterrupt


@contextlib.contextmanager
def handle_stop_signals(folder: Path, on_stop: Callable[[], None], *, by_signal: bool = True) -> Iterator[StopRequest]:
    """Pass SIGTERM on to the ranks and end them on Ctrl-C while the block runs; `on_stop` is called on SIGTERM.

    Args:
        by_signal: whether ranks are sent SIGTERM too; a worker of Ray would die of it, and looks for the file alone.

    In another thread than the main one signals are the application's own; if it dies, the kernel tells the ranks.
    """
    stop_request = StopRequest(folder, on_stop, by_signal=by_signal)
    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop_request.terminate),
        signal.SIGINT: signal.signal(signal.SIGINT, stop_request.interrupt),
    }
    try:
        yield stop_request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
