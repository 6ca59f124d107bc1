"""A child dies with its parent, even when that cannot ask it to; and a process is never mistaken for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.system.processes import SAFE_PATH, process_mark, started_ticks

PARENT = """
import os, signal, subprocess, sys
from fullcircle.core.system.processes import die_with_parent
arm = die_with_parent(os.getpid(), signal.Signals(int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", "print('born', flush=True); input()"], preexec_fn=arm)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_dies_with_a_parent_that_is_killed(signum: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(int(signum))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        assert parent.stdout.readline() == "born\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.wait() == -signal.SIGKILL
        # The end comes when the child is gone, too: both write there. Our end of its input is open still.
        assert parent.stdout.read() == ""


def test_a_dead_process_is_told_from_a_living_one_even_before_anybody_waited_for_it() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        mark, ticks = process_mark(child.pid), started_ticks(child.pid)
        assert mark and ticks is not None
        assert (mark, ticks) == (process_mark(child.pid), started_ticks(child.pid))
        assert mark != process_mark(os.getpid()) != ""
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ended, and is not waited for yet
        assert (process_mark(child.pid), started_ticks(child.pid)) == ("", None)
    assert (process_mark(child.pid), started_ticks(child.pid)) == ("", None)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_name_with_spaces_and_brackets_does_not_hide_when_a_process_started() -> None:
    name, before = Path("/proc/self/comm"), started_ticks(os.getpid())
    own = name.read_text().strip()
    name.write_text("a) Z 1 (b")
    try:
        assert started_ticks(os.getpid()) == before
    finally:
        name.write_text(own)


def test_a_program_that_we_start_takes_no_module_from_the_folder_that_it_is_started_in(tmp_path: Path) -> None:
    """A file `http.py` in the folder of a command stood for the standard library's in the servers that it started."""
    for name in ("http", "queue", "selectors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')\n")
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "look.py").write_text("import http.client, queue, selectors\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "apart")}
    codes = [
        subprocess.run([sys.executable, "-m", "look"], cwd=tmp_path, env=env | more, check=False).returncode
        for more in (SAFE_PATH, {})
    ]
    assert codes == [0, 1]


@pytest.mark.parametrize(("flags", "kept"), [(["-P"], True), ([], False)])
def test_who_looks_into_the_working_folder_itself_lets_its_programs_do_so(
    flags: list[str], kept: bool, tmp_path: Path
) -> None:
    """A project that imports its neighbours under `python -m fullcircle.cli` is to load in the server it starts."""
    script = "from fullcircle.core.system.processes import safe_path; print(len(safe_path()))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True, text=True
    )
    assert bool(int(done.stdout)) is kept


def test_no_program_is_started_but_by_what_keeps_it_so(repository: Path) -> None:
    """Whoever starts Python itself gives it `-P`, or an environment with `safe_path`."""
    for file in (repository / "platform" / "src").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if 'sys.executable, "-m"' in text:
            kept = ("Service(" in text, "run_to_end(" in text, "safe_path()" in text, "SUBREAPER" in text)
            assert any(kept), f"{file} starts Python that imports what lies in the working folder"
