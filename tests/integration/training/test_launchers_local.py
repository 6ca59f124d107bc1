"""`local:N` on real processes: how ranks are started, replaced, told to stop, and what is left of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.project import Compute, Training
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launchers import local, rank_processes

# What the ranks run, instead of a training: importable by its name in every process.
WORK = """
import json, os, signal, sys, threading, time

def report(job, *, stop):
    print("said by", os.environ["RANK"])
    names = ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME", "MASTER_ADDR", "FULLCIRCLE_LAUNCHER")
    report = {name: os.environ[name] for name in names}
    (job.folder / f"report-{report['RANK']}.json").write_text(json.dumps(report))

def fail(job, *, stop):
    raise ValueError("the third layer is missing")

def die_once(job, *, stop):
    mark = job.folder / "died"
    if os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as in a collective that never comes back
        time.sleep(120)

def never_stop(job, *, stop):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (job.folder / f"there-{os.environ['RANK']}").touch()
    time.sleep(120)
"""

# Without a guard, and read from standard input: a rank must not run it again.
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {path!r})
import rank_work
from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Compute, Training
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launchers import local
folder = Path({folder!r})
job = TrainJob(project="boxes", root=folder, framework="torch", data="d", arrays=folder, training=Training(),
               compute=Compute(grace_s=1), run_id="run", folder=folder, storage="")
try:
    print(local.run_ranks(getattr(rank_work, {work!r}), job, 2), "restarts")
except FullcircleError as error:
    print(f"{{type(error).__name__}}: {{error}}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "rank_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.delitem(sys.modules, "rank_work", raising=False)
    import rank_work  # type: ignore[import-not-found]

    return rank_work


def job(folder: Path, **compute: Any) -> TrainJob:
    folder.mkdir()
    return TrainJob(
        project="boxes",
        root=folder,
        framework="torch",
        data="d",
        arrays=folder,
        training=Training(),
        compute=Compute(**compute),
        run_id="run",
        folder=folder,
        storage=str(folder / "checkpoints"),
    )


def script(tmp_path: Path, work: str) -> subprocess.Popen[str]:
    (tmp_path / "job").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(SCRIPT.format(path=str(tmp_path / "path"), folder=str(tmp_path / "job"), work=work))
    process.stdin.close()
    process.stdin = None
    return process


def test_ranks_know_who_they_are_and_their_output_is_kept(tmp_path: Path, work: Any) -> None:
    one = job(tmp_path / "job", threads=3)
    assert local.run_ranks(work.report, one, 2) == 0
    reports = [json.loads((one.folder / f"report-{rank}.json").read_text()) for rank in (0, 1)]
    alike = {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "3", "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    assert reports == [{**alike, "RANK": str(rank), "FULLCIRCLE_LAUNCHER": "local"} for rank in (0, 1)]
    said = sorted(path.read_text() for path in one.folder.rglob("stdout.log"))
    assert said == ["said by 0\n", "said by 1\n"]
    assert rank_processes.read(one.folder) == []
    assert list((one.folder / "stacks").iterdir()) == []


def test_a_launch_from_a_script_without_a_guard_and_from_a_pipe_works(tmp_path: Path, work: Any) -> None:
    out, err = script(tmp_path, "report").communicate()
    assert (out, err) == ("0 restarts\n", "")


def test_a_launch_from_another_thread_works(tmp_path: Path, work: Any) -> None:
    restarts: list[int] = []
    one = job(tmp_path / "job")
    thread = threading.Thread(target=lambda: restarts.append(local.run_ranks(work.report, one, 1)))
    thread.start()
    thread.join()
    assert restarts == [0]


def test_survivors_that_wait_for_a_dead_rank_are_replaced_with_it_and_do_not_hold_it_up(
    tmp_path: Path, work: Any
) -> None:
    said: list[str] = []
    one = job(tmp_path / "job")
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)]
    # Rank 0 ignores SIGTERM and sleeps for longer than this test may take.
    assert local.run_ranks(work.die_once, one, 2, note=said.append) == 1
    assert len(said) == 1
    assert "rank 1 (process" in said[0]
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)]


def test_ranks_that_always_fail_end_the_job_with_their_last_words(tmp_path: Path, work: Any) -> None:
    with pytest.raises(TrainingFailed) as failed:
        local.run_ranks(work.fail, job(tmp_path / "job", max_restarts=1), 1)
    assert "rank 0 failed (ValueError: the third layer is missing)" in failed.value.what
    assert "had been replaced 1 times" in failed.value.what
    assert str(tmp_path / "job" / "logs") in failed.value.hint


@pytest.mark.parametrize(
    ("signum", "code", "says"),
    [(signal.SIGTERM, 75, "was told to stop and wrote no checkpoint within 1 s"), (signal.SIGINT, None, "Interrupt")],
)
def test_ranks_that_will_not_stop_are_ended_and_none_is_left(
    tmp_path: Path, work: Any, signum: signal.Signals, code: int | None, says: str
) -> None:
    process = script(tmp_path, "never_stop")
    while not all((tmp_path / "job" / f"there-{rank}").exists() for rank in (0, 1)):
        assert process.poll() is None
        time.sleep(0.02)
    ranks = rank_processes.read(tmp_path / "job")
    process.send_signal(signum)
    _, err = process.communicate()
    assert says in err
    if code is not None:
        assert process.returncode == code
    assert [rank for rank in ranks if rank.alive] == []
