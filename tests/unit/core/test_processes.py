"""A child that was asked to die with its parent does so, even when the parent cannot ask it to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PARENT = """
import os, signal, subprocess, sys
from fullcircle.core.processes import dying_with
arm = dying_with(os.getpid(), signal.Signals(int(sys.argv[1])))
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
