"""The process files of a job's ranks: which processes they are, whether they live, and how to signal them."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from fullcircle.core.system.files import write_whole
from fullcircle.core.system.processes import started_ticks


@dataclass(frozen=True, kw_only=True)
class RankProcess:
    """One rank's process, as it wrote itself down.

    Attributes:
        started: seconds since 1970. `ticks`: the same in the kernel's own count since boot.
    """

    rank: int
    pid: int
    started: float
    host: str
    ticks: int

    @property
    def here(self) -> bool:
        """Whether it is (or was) a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it runs, or is stopped; a dead one that nobody waited for does not count."""
        return self.here and started_ticks(self.pid) == self.ticks

    @property
    def stopped(self) -> bool:
        """Whether it is stopped (SIGSTOP, a debugger), so that it can do nothing until SIGCONT."""
        return self.alive and self.state in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)

    @property
    def state(self) -> str:
        """Its status as psutil names it: `running`, `sleeping`, `disk-sleep`, `stopped`, ...; or `gone`."""
        try:
            return str(psutil.Process(self.pid).status())
        except psutil.NoSuchProcess:
            return "gone"

    def send(self, signum: signal.Signals) -> bool:
        """Send a signal to it, and to nobody else. False when it is gone."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def path_of(folder: Path, rank: int) -> Path:
    """The process file of a rank."""
    return folder / f"rank-{rank}.process.json"


def register(folder: Path, rank: int) -> RankProcess:
    """Write this process down as that rank."""
    ticks = started_ticks(os.getpid())
    assert ticks is not None, "we live"
    own = RankProcess(rank=rank, pid=os.getpid(), started=time.time(), host=socket.gethostname(), ticks=ticks)
    write_whole(path_of(folder, rank), json.dumps(asdict(own)))
    return own


def unregister(folder: Path, rank: int) -> None:
    """This rank ended well: nobody needs to watch it any more. Safe to call twice."""
    path_of(folder, rank).unlink(missing_ok=True)


def read(folder: Path) -> list[RankProcess]:
    """The ranks that wrote themselves down and did not end well, in order."""
    found = []
    for path in folder.glob("rank-*.process.json"):
        try:
            found.append(RankProcess(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):  # it ended between the two
            continue
    return sorted(found, key=lambda process: process.rank)


def end_orphans(folder: Path, grace_s: float) -> list[RankProcess]:
    """End the ranks that a dead launcher left on this machine: SIGTERM, and SIGKILL after `grace_s`.

    Returns:
        Those that were still there.
    """
    left = [process for process in read(folder) if process.alive and process.pid != os.getpid()]
    for process in left:
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)  # a stopped one would never hear of it
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(process.alive for process in left):
        time.sleep(0.05)
    for process in left:
        process.send(signal.SIGKILL)
    while any(process.alive for process in left):
        time.sleep(0.01)
    for process in read(folder):
        if not process.alive and process.here:
            unregister(folder, process.rank)
    return left
