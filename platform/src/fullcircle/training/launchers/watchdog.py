"""The launcher's watchdog: detects ranks that died, that hang, or that do not stop when asked.

Ranks wait for each other at every step. So one that died or hangs takes all of them with it: what is left is ended at
once, and torch's elastic agent, which looks at exit codes alone, replaces the group.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fullcircle.training.launchers import rank_processes
from fullcircle.training.launchers.rank_processes import RankProcess
from fullcircle.training.launchers.rank_progress import FIRST_STEP_S, RankProgress

LOOK_EVERY_S = 0.2
DUMP_S = 3.0
"""Time that a rank has to write its stacks; it takes milliseconds, on a busy machine more."""


class Watchdog:
    """Looks after the ranks of one job, again and again. `check` is one round."""

    def __init__(
        self, folder: Path, *, stall_s: float, first_step_s: float = FIRST_STEP_S, note: Callable[[str], None]
    ) -> None:
        self.deadline: float | None = None
        """Moment of time.monotonic() at which ranks that were told to stop are ended."""
        self._folder, self._stall_s, self._note = folder, stall_s, note
        self._first_step_s = max(first_step_s, stall_s)
        self._ended: set[tuple[int, int]] = set()
        self._progress: dict[int, tuple[RankProcess, RankProgress]] = {}
        self._began = False
        self._since = time.monotonic()

    def check(self) -> None:
        """Look once, and act on what is seen."""
        group = [
            rank
            for rank in rank_processes.read(self._folder)
            if rank.here and (rank.pid, rank.ticks) not in self._ended
        ]
        dead = [rank for rank in group if not rank.alive]
        if dead:
            names = " and ".join(f"rank {rank.rank} (process {rank.pid})" for rank in dead)
            self._end(group, f"{names} died")
        elif self.deadline is not None and time.monotonic() > self.deadline:
            if group:
                self._end(group, "the ranks did not stop within the time of grace")
        elif group and (silent_s := self._silent_s(group)) > (self._stall_s if self._began else self._first_step_s):
            self._hung(group, silent_s)

    def _silent_s(self, group: list[RankProcess]) -> float:
        """Seconds since any of them made a step, or was new."""
        for rank in group:
            known = self._progress.get(rank.rank)
            if known is None or known[0] != rank:
                self._progress[rank.rank] = rank, RankProgress(self._folder, rank.rank)
                self._began, self._since = False, time.monotonic()
            elif known[1].grew():
                self._began, self._since = True, time.monotonic()
        return time.monotonic() - self._since

    def _hung(self, group: list[RankProcess], silent_s: float) -> None:
        # The state is asked for first: a stopped process must be continued to write its stacks.
        states = {rank.rank: rank.state for rank in group}
        sizes = {rank.rank: _dumped(self._folder, rank) for rank in group}
        for rank in group:
            rank.send(signal.SIGUSR1)
            if rank.stopped:
                rank.send(signal.SIGCONT)
        deadline = time.monotonic() + DUMP_S
        while time.monotonic() < deadline and any(_dumped(self._folder, r) == sizes[r.rank] for r in group):
            time.sleep(0.05)
        for rank in group:
            answered = "" if _dumped(self._folder, rank) > sizes[rank.rank] else ", and wrote no stacks when asked"
            with _newest_dump(self._folder, rank.rank).open("a") as dump:
                dump.write(f"rank {rank.rank}, process {rank.pid}: {states[rank.rank]}{answered}\n")
        said = ", ".join(f"rank {number} was {state}" for number, state in states.items())
        self._end(group, f"no step for {silent_s:.0f} s ({said}); stacks are in {self._folder / 'stacks'}")

    def _end(self, group: list[RankProcess], why: str) -> None:
        self._ended |= {(rank.pid, rank.ticks) for rank in group}
        self._note(why)
        for rank in group:
            rank.send(signal.SIGKILL)  # SIGTERM would wait for a step that cannot come


@contextlib.contextmanager
def run_watchdog(watchdog: Watchdog) -> Iterator[None]:
    """Look, from a thread, while the block runs."""
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(LOOK_EVERY_S):
            with contextlib.suppress(OSError):  # a full disk, a file that went away: the next look may see
                watchdog.check()

    thread = threading.Thread(target=check, daemon=True, name="watch")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _newest_dump(folder: Path, rank: int) -> Path:
    stacks = folder / "stacks"
    stacks.mkdir(parents=True, exist_ok=True)
    dumps = stacks.glob(f"rank-{rank}-*.txt")
    return max(dumps, key=lambda path: int(path.stem.rsplit("-", 1)[1]), default=stacks / f"rank-{rank}-0.txt")


def _dumped(folder: Path, rank: RankProcess) -> int:
    path = _newest_dump(folder, rank.rank)
    return path.stat().st_size if path.exists() else 0
