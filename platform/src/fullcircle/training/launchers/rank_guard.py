"""What a rank sets up to be watched and stopped: process file, stack dumps, stop requests, end with its launcher."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from fullcircle.core.security.permissions import write_privately
from fullcircle.core.system.processes import die_with_parent
from fullcircle.training.launchers import rank_processes
from fullcircle.training.launchers.preemption import node_is_draining
from fullcircle.training.launchers.rank_progress import FIRST_STEP_S, RankProgress

if TYPE_CHECKING:
    from fullcircle.training.jobs import TrainJob

LAUNCHER = "FULLCIRCLE_LAUNCHER"
"""Environment variable by which a launcher tells its ranks which it is: `local`, `ray`; inline has none."""

STOPPING = "stopping.json"
"""File in the job's folder: the launcher was told to stop. For ranks that no signal reaches, or not yet."""

LOOK_EVERY_S = 1.0
NOTICE_EVERY_S = 2.0
"""How often a rank under Ray asks whether its node is about to be taken away."""


class RankFunction(Protocol):
    """What a rank runs: `training.rank_main.run`, which returns when it is told to stop."""

    def __call__(self, job: TrainJob, *, stop: Callable[[], bool]) -> object:
        """Do this rank's part of the job."""
        ...


class RankGuard:
    """What `guard_rank` has set up; `close` undoes it."""

    def __init__(self, job: TrainJob, rank: int) -> None:
        self._folder, self._rank = job.folder, rank
        self._stop_requested = threading.Event()
        self._closed = threading.Event()
        self._dump = _dump_file(job.folder, rank)
        self._watching: threading.Thread | None = None
        faulthandler.register(signal.SIGUSR1, self._dump, all_threads=True)
        rank_processes.register(job.folder, rank)
        launcher = os.environ.get(LAUNCHER)
        self._watched = launcher == "local"
        if not self._watched:
            # Nobody outside looks after this process: it looks after itself. A person may sit at a breakpoint of an
            # inline run, so only under Ray, which replaces it, does a hung process end itself.
            self._watching = _in_thread(lambda: self._watch_itself(job.compute.stall_s, leave=launcher == "ray"))
        if launcher == "ray":
            _in_thread(self._ask_ray)

    def stop_requested(self) -> bool:
        """Whether this rank was told to stop, other than by a signal."""
        return self._stop_requested.is_set() or (self._folder / STOPPING).exists()

    def close(self) -> None:
        """Take everything away again. Safe to call twice."""
        self._closed.set()
        if self._watching is not None:
            self._watching.join()  # else it could set the timer again
        faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(signal.SIGUSR1)
        # In `local:N` the launcher must see whether this process goes on to end well: see `run_local_rank`.
        if not self._watched:
            rank_processes.unregister(self._folder, self._rank)
        if not self._dump.closed:
            self._dump.close()
            remove_empty_dumps(self._folder)

    def _watch_itself(self, stall_s: float, *, leave: bool) -> None:
        """Push the moment of the dump away as long as the event log grows. The timer is C: it needs neither this thread
        nor the interpreter's lock to go off."""
        progress = RankProgress(self._folder, self._rank)
        faulthandler.dump_traceback_later(max(FIRST_STEP_S, stall_s), file=self._dump, exit=leave)
        while not self._closed.wait(LOOK_EVERY_S):
            if progress.grew():
                faulthandler.dump_traceback_later(stall_s, file=self._dump, exit=leave)

    def _ask_ray(self) -> None:
        """Ray's preemption notice. Its question is collective: every rank asks, from a thread of its own, until one of
        them ends; that is why none of them asks from the training loop, which may be waiting elsewhere."""
        with contextlib.suppress(Exception):  # the ranks end one after the other, and Ray's question with them
            while not self._closed.wait(NOTICE_EVERY_S):
                if node_is_draining():
                    self._stop_requested.set()
                    return


def guard_rank(job: TrainJob, rank: int) -> RankGuard:
    """Make this process one that can be watched: process file, stacks on SIGUSR1, an end with its launcher.

    In a rank of `local:N` the launcher watches. Inline and under Ray the process watches itself: without a step for
    `compute.stall_s` it writes its stacks to `stacks/rank-<r>-<n>.txt`, and under Ray it ends so as to be replaced.
    """
    write_privately()  # under Ray nobody's umask was inherited
    return RankGuard(job, rank)


def run_local_rank(work: RankFunction, job: TrainJob) -> int:
    """A rank of `local:N` from start to end, in a process of its own. Returns how often the ranks were replaced.

    Raises:
        Exception: whatever `work` raises; the launcher then replaces the ranks.
    """
    launcher = die_with_launcher()
    os.environ[LAUNCHER] = "local"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the launcher ends us in order
    rank = int(os.environ["RANK"])
    guard = guard_rank(job, rank)
    if not guard.stop_requested():
        work(job, stop=guard.stop_requested)
    guard.close()  # not when `work` raised: see there
    # The launcher's library now waits with us for the other ranks. A flag that a handler sets would be looked at by
    # nobody, and a rank whose launcher is gone would wait for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    rank_processes.unregister(job.folder, rank)
    if os.getppid() != launcher:
        os._exit(0)
    # All is written, and the launcher waits for us: tearing torch and TensorFlow down takes seconds and saves nothing.
    # It is the last to be registered, so it is the first to be called, once our answer is on its way.
    atexit.register(_exit_at_once)
    return int(os.environ["TORCHELASTIC_RESTART_COUNT"])


def _exit_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def die_with_launcher() -> int:
    """SIGTERM from the kernel when the launcher dies in whatever way, kill -9 included. Returns the launcher's id.

    The signal is bound to the launcher's thread that started us: a launch runs in a thread that lives as long.
    """
    parent = multiprocessing.parent_process()
    launcher = parent.pid if parent is not None and parent.pid is not None else os.getppid()
    die_with_parent(launcher)()
    return launcher


def remove_empty_dumps(folder: Path) -> None:
    """Take away the dump files of ranks that were never asked for their stacks."""
    for path in (folder / "stacks").glob("rank-*.txt"):
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


def _in_thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True, name="watch")
    thread.start()
    return thread


def _dump_file(folder: Path, rank: int) -> IO[bytes]:
    """A new file for this process's stacks. It must be open before: a hung process cannot open one."""
    stacks = folder / "stacks"
    stacks.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        with contextlib.suppress(FileExistsError):
            (stacks / f"rank-{rank}-{number}.txt").open("xb").close()
            return (stacks / f"rank-{rank}-{number}.txt").open("ab", buffering=0)
        number += 1
