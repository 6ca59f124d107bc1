"""The launcher's eye on its ranks, on real processes: who died, who hangs, who does not stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fullcircle.core.errors import TrainingFailed
from fullcircle.training.launchers import rank_processes
from fullcircle.training.launchers.rank_guard import remove_empty_dumps
from fullcircle.training.launchers.rank_processes import RankProcess
from fullcircle.training.launchers.rank_progress import RankProgress
from fullcircle.training.launchers.signals import exclusive_launch
from fullcircle.training.launchers.watchdog import Watchdog
from fullcircle.training.training_loop.event_log import EventLog, event_log_path

# A rank that writes itself down, answers SIGUSR1 with its stacks, and does nothing until it is told to.
RANK = """
import faulthandler, signal, sys, time
from pathlib import Path
from fullcircle.training.launchers import rank_processes
folder, rank, deaf = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "deaf"
(folder / "stacks").mkdir(exist_ok=True)
dump = (folder / "stacks" / f"rank-{rank}-0.txt").open("ab")
if deaf:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    faulthandler.register(signal.SIGUSR1, dump)
rank_processes.register(folder, rank)
time.sleep(120)
"""

Start = Callable[..., RankProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that is a rank of the job in tmp_path."""
    children = []

    def one(rank: int, *, deaf: bool = False) -> RankProcess:
        words = [sys.executable, "-c", RANK, str(tmp_path), str(rank), "deaf" if deaf else "hears"]
        children.append(subprocess.Popen(words))
        while not (found := [process for process in rank_processes.read(tmp_path) if process.pid == children[-1].pid]):
            assert children[-1].poll() is None
            time.sleep(0.01)
        return found[0]

    yield one
    for child in children:
        child.kill()
        child.wait()


def watchdog(folder: Path, said: list[str], stall_s: float = 60, first_step_s: float = 60) -> Watchdog:
    return Watchdog(folder, stall_s=stall_s, first_step_s=first_step_s, note=said.append)


def gone(process: RankProcess) -> bool:
    while process.alive:  # SIGKILL is on its way; the test's own timeout is the limit
        time.sleep(0.01)
    return True


def wrote_a_step(folder: Path, rank: int) -> None:
    EventLog(event_log_path(folder, rank)).write("steps", first=1)


def test_ranks_that_live_and_learn_are_left_alone(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    ranks = [start(0), start(1)]
    check = watchdog(tmp_path, said)
    for _ in range(3):
        check.check()
        wrote_a_step(tmp_path, 0)
    assert all(rank.alive for rank in ranks)
    assert said == []


def test_when_one_rank_dies_the_others_are_ended_at_once(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    first, second = start(0, deaf=True), start(1)
    check = watchdog(tmp_path, said)
    check.check()
    second.send(signal.SIGKILL)
    assert gone(second)
    check.check()
    assert gone(first)
    assert said == [f"rank 1 (process {second.pid}) died"]
    check.check()
    assert len(said) == 1, "the dead are mourned once"


def test_a_rank_that_ended_well_is_no_death(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    first, second = start(0), start(1)
    check = watchdog(tmp_path, said)
    rank_processes.unregister(tmp_path, 1)
    second.send(signal.SIGKILL)
    gone(second)
    check.check()
    assert first.alive
    assert said == []


def test_a_hung_group_leaves_its_stacks_and_the_kernels_word_for_each_rank(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    ranks = [start(0), start(1), start(2, deaf=True)]
    ranks[1].send(signal.SIGSTOP)
    while not ranks[1].stopped:
        time.sleep(0.01)
    check = watchdog(tmp_path, said, stall_s=0, first_step_s=0)
    check.check()
    check.check()
    assert all(gone(rank) for rank in ranks)
    dumps = [(tmp_path / "stacks" / f"rank-{rank}-0.txt").read_text() for rank in range(3)]
    assert 'File "<string>"' in dumps[0]
    assert 'File "<string>"' in dumps[1]
    assert "process " + str(ranks[1].pid) + ": stopped" in dumps[1]
    assert dumps[2] == f"rank 2, process {ranks[2].pid}: sleeping, and wrote no stacks when asked\n"
    assert "rank 1 was stopped" in said[0]


def test_patience_is_long_until_the_first_step_and_short_after_it(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    rank = start(0)
    check = watchdog(tmp_path, said, stall_s=0, first_step_s=60)
    check.check()
    check.check()
    assert rank.alive
    wrote_a_step(tmp_path, 0)
    check.check()
    check.check()
    assert gone(rank)
    assert "no step for" in said[0]


def test_ranks_that_do_not_stop_when_told_are_ended_after_the_time_of_grace(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    rank = start(0, deaf=True)
    check = watchdog(tmp_path, said)
    check.deadline = time.monotonic() + 60
    check.check()
    assert rank.alive
    check.deadline = time.monotonic() - 1
    check.check()
    assert gone(rank)
    assert said == ["the ranks did not stop within the time of grace"]


def test_only_steps_are_progress_and_only_whole_entries(tmp_path: Path) -> None:
    path = event_log_path(tmp_path, 0)
    wrote_a_step(tmp_path, 0)
    progress = RankProgress(tmp_path, 0)
    assert not progress.grew(), "what was there before is no progress"
    EventLog(path).write("resumed", step=7)
    assert not progress.grew()
    before = path.stat().st_size
    wrote_a_step(tmp_path, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: before + 20])
    assert not progress.grew()
    path.write_bytes(whole)
    assert progress.grew()
    assert not progress.grew()


def test_a_process_id_that_was_given_to_somebody_else_is_not_the_rank(tmp_path: Path) -> None:
    own = rank_processes.register(tmp_path, 0)
    assert own.alive
    stale = RankProcess(rank=0, pid=own.pid, started=own.started, host=own.host, ticks=own.ticks - 1)
    assert not stale.alive
    assert not stale.send(signal.SIGKILL)
    elsewhere = RankProcess(rank=0, pid=own.pid, started=own.started, host="another-machine", ticks=own.ticks)
    assert not elsewhere.alive


def test_ranks_that_a_dead_launcher_left_are_ended_before_the_next_launch(tmp_path: Path, start: Start) -> None:
    said: list[str] = []
    hears, stopped = start(0), start(1)
    stopped.send(signal.SIGSTOP)
    with exclusive_launch(tmp_path, said.append):
        assert not hears.alive
        assert not stopped.alive
    assert len(said) == 2
    assert rank_processes.read(tmp_path) == []


def test_two_launchers_never_have_one_job(tmp_path: Path) -> None:
    with (
        exclusive_launch(tmp_path / "run-7", print),
        pytest.raises(TrainingFailed, match="run-7 is being trained by another process"),
        exclusive_launch(tmp_path / "run-7", print),
    ):
        pytest.fail("two at once")
    with exclusive_launch(tmp_path / "run-7", print):
        assert (tmp_path / "run-7" / "launch.lock").exists()


def test_empty_dump_files_are_taken_away_and_full_ones_kept(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "rank-0-0.txt").touch()
    (tmp_path / "stacks" / "rank-1-0.txt").write_text("Thread")
    remove_empty_dumps(tmp_path)
    assert [path.name for path in (tmp_path / "stacks").iterdir()] == ["rank-1-0.txt"]
