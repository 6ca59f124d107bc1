"""Processes that train many jobs, one after the other: what a framework takes to start is paid once a process.

Each process trains inline (`training.pooled`), tells what each epoch came to and waits to hear whether to go on. One
that dies is replaced, and its job goes on from the newest checkpoint. All of them die with this one, in whatever way it
does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fullcircle.core.errors import FullcircleError, TrainingFailed
from fullcircle.core.records.training import EpochMetrics
from fullcircle.training.jobs import TrainJob

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch was done, or was found done in a checkpoint. Its process waits for `Pool.answer`."""

    metrics: EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Done:
    """The job came to its end."""

    history: tuple[EpochMetrics, ...]
    best_epoch: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The job was ended, as the answer to its last epoch said."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The job came to nothing: it would again."""

    error: FullcircleError


Message = Epoch | Done | Stopped | Failed


@dataclass
class _Seat:
    """A place for one process."""

    log: Path
    process: subprocess.Popen[bytes] | None = None
    line: Connection | None = None
    job: TrainJob | None = None
    deaths: int = 0


@dataclass
class Pool:
    """So many processes; use as a context manager, from one thread. Leaving it kills them: their checkpoints stand.

    Args:
        folder: where they leave what they print, `worker-<n>.log`.
        threads: of the numeric libraries of each process, where the environment says nothing; the framework's own are
            `compute.threads`.
        note: hears sentences for people: of processes that were replaced.
    """

    size: int
    folder: Path
    threads: int
    note: Callable[[str], None]
    _seats: list[_Seat] = field(default_factory=list)

    def __enter__(self) -> Pool:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._seats = [_Seat(self.folder / f"worker-{number}.log") for number in range(self.size)]
        return self

    def __exit__(self, *exception: object) -> None:
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
        for seat in self._seats:
            _cleared(seat)

    @property
    def idle(self) -> int:
        """Processes that have no job."""
        return sum(seat.job is None for seat in self._seats)

    def train(self, job: TrainJob) -> None:
        """Give a job to an idle process; on a folder that an earlier one used, it goes on there."""
        seat = next(seat for seat in self._seats if seat.job is None)
        seat.job, seat.deaths = job, 0
        self._send(seat)

    def answer(self, job: TrainJob, go_on: bool) -> None:
        """Say, after an Epoch, whether to go on; if not, Stopped follows."""
        seat = next(seat for seat in self._seats if seat.job is job)
        assert seat.line is not None
        try:
            seat.line.send(go_on)
        except OSError:  # it died while it waited: `told` will see
            return

    def told(self, timeout_s: float) -> Iterator[tuple[TrainJob, Message]]:
        """What the processes tell, waiting so long for the first word. With Done, Stopped and Failed one is idle."""
        lines = {seat.line: seat for seat in self._seats if seat.line is not None and seat.job is not None}
        if not lines:
            time.sleep(timeout_s)
        for line in wait(list(lines), timeout_s):
            assert isinstance(line, Connection)
            seat = lines[line]
            job = seat.job
            assert job is not None
            try:
                message: Message | None = line.recv()
            except (EOFError, OSError):
                message = self._replaced(seat)
            if message is None:
                continue
            if not isinstance(message, Epoch):
                seat.job = None
            yield job, message

    def _send(self, seat: _Seat) -> None:
        if seat.line is None:
            _start(seat, self.threads)
        assert seat.line is not None
        try:
            seat.line.send(seat.job)
        except OSError:  # it died while it was idle
            _cleared(seat)
            _start(seat, self.threads)
            seat.line.send(seat.job)

    def _replaced(self, seat: _Seat) -> Failed | None:
        """Another process for one that died; Failed when that happened too often with this job."""
        assert seat.job is not None
        code = _cleared(seat)
        seat.deaths += 1
        name = f"{seat.job.project} ({seat.job.framework})"
        if seat.deaths > seat.job.compute.max_restarts:
            why = f"the process that trained {name} died {seat.deaths} times (exit code {code}){_last(seat.log)}"
            return Failed(error=TrainingFailed(why, hint=f"what it printed is in {seat.log}"))
        self.note(f"the process that trained {name} died (exit code {code}); another goes on from its checkpoint")
        self._send(seat)
        return None


def _start(seat: _Seat, threads: int) -> None:
    ours, theirs = Pipe()
    env = {**{name: str(threads) for name in THREADS}, **os.environ}
    command = [sys.executable, "-m", "fullcircle.training.pooled", str(theirs.fileno()), str(os.getpid())]
    with theirs, seat.log.open("ab") as output:
        seat.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C reaches us alone
        )
    seat.line = ours


def _cleared(seat: _Seat) -> int | None:
    """Take away a process that was killed or died; returns its exit code."""
    process, line = seat.process, seat.line
    seat.process, seat.line = None, None
    if line is not None:
        line.close()
    if process is None:
        return None
    process.kill()
    return process.wait()


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f": {lines[-1].strip()}" if lines else ""
