"""A pool of worker processes that train many jobs, one after the other: a framework's start is paid once a process.

Each process (`training.worker_main`) trains inline, sends the metrics of each epoch and waits for the answer whether to
go on. One that dies is replaced, and its job resumes from the newest checkpoint. All of them die with this process, in
whatever way it does.
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
from fullcircle.core.system.processes import safe_path
from fullcircle.training.jobs import TrainJob

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch was done, or was found done in a checkpoint. Its process waits for `WorkerPool.answer`."""

    metrics: EpochMetrics


@dataclass(frozen=True, kw_only=True)
class JobDone:
    """The job came to its end."""

    history: tuple[EpochMetrics, ...]
    best_epoch: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JobStopped:
    """The job was ended, as the answer to its last epoch said."""


@dataclass(frozen=True, kw_only=True)
class JobFailed:
    """The job came to nothing: it would again."""

    error: FullcircleError


Message = EpochDone | JobDone | JobStopped | JobFailed


@dataclass
class _Slot:
    """A place for one process."""

    log: Path
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    job: TrainJob | None = None
    deaths: int = 0


@dataclass
class WorkerPool:
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
    _slots: list[_Slot] = field(default_factory=list)

    def __enter__(self) -> WorkerPool:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._slots = [_Slot(self.folder / f"worker-{number}.log") for number in range(self.size)]
        return self

    def __exit__(self, *exception: object) -> None:
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
        for slot in self._slots:
            _terminate(slot)

    @property
    def idle(self) -> int:
        """Processes that have no job."""
        return sum(slot.job is None for slot in self._slots)

    def train(self, job: TrainJob) -> None:
        """Give a job to an idle process; on a folder that an earlier one used, it goes on there."""
        slot = next(slot for slot in self._slots if slot.job is None)
        slot.job, slot.deaths = job, 0
        self._send(slot)

    def answer(self, job: TrainJob, go_on: bool) -> None:
        """Say, after an Epoch, whether to go on; if not, Stopped follows."""
        slot = next(slot for slot in self._slots if slot.job is job)
        assert slot.connection is not None
        try:
            slot.connection.send(go_on)
        except OSError:  # it died while it waited: `poll` will see
            return

    def poll(self, timeout_s: float) -> Iterator[tuple[TrainJob, Message]]:
        """What the processes have sent, waiting so long for the first. After a message that ends a job one is idle."""
        connections = {
            slot.connection: slot for slot in self._slots if slot.connection is not None and slot.job is not None
        }
        if not connections:
            time.sleep(timeout_s)
        for connection in wait(list(connections), timeout_s):
            assert isinstance(connection, Connection)
            slot = connections[connection]
            job = slot.job
            assert job is not None
            try:
                message: Message | None = connection.recv()
            except (EOFError, OSError):
                message = self._restart(slot)
            if message is None:
                continue
            if not isinstance(message, EpochDone):
                slot.job = None
            yield job, message

    def _send(self, slot: _Slot) -> None:
        if slot.connection is None:
            _start(slot, self.threads)
        assert slot.connection is not None
        try:
            slot.connection.send(slot.job)
        except OSError:  # it died while it was idle
            _terminate(slot)
            _start(slot, self.threads)
            slot.connection.send(slot.job)

    def _restart(self, slot: _Slot) -> JobFailed | None:
        """Another process for one that died; Failed when that happened too often with this job."""
        assert slot.job is not None
        code = _terminate(slot)
        slot.deaths += 1
        name = f"{slot.job.project} ({slot.job.framework})"
        if slot.deaths > slot.job.compute.max_restarts:
            why = f"the process that trained {name} died {slot.deaths} times (exit code {code}){_last_line(slot.log)}"
            return JobFailed(error=TrainingFailed(why, hint=f"what it printed is in {slot.log}"))
        self.note(f"the process that trained {name} died (exit code {code}); another goes on from its checkpoint")
        self._send(slot)
        return None


def _start(slot: _Slot, threads: int) -> None:
    ours, theirs = Pipe()
    env = {**{name: str(threads) for name in THREADS}, **os.environ, **safe_path()}
    command = [sys.executable, "-m", "fullcircle.training.worker_main", str(theirs.fileno()), str(os.getpid())]
    with theirs, slot.log.open("ab") as output:
        slot.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C reaches us alone
        )
    slot.connection = ours


def _terminate(slot: _Slot) -> int | None:
    """Take away a process that was killed or died; returns its exit code."""
    process, connection = slot.process, slot.connection
    slot.process, slot.connection = None, None
    if connection is not None:
        connection.close()
    if process is None:
        return None
    process.kill()
    return process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f": {lines[-1].strip()}" if lines else ""
