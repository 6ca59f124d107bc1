"""A child dies with its parent, even when that cannot ask it to; and a process is never mistaken for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.system.processes import process_mark, started_ticks

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
