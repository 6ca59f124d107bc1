"""Nothing that a leashed command started outlives it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# One that writes down how often it is asked to end, and has a child in a session of its own that will not.
STUBBORN = """
import signal, subprocess, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
print(subprocess.Popen([sys.executable, "-c", child], start_new_session=True).pid, flush=True)
time.sleep(1.5)
while not asked: time.sleep(0.05)
time.sleep(1)
open(sys.argv[1], "w").write(str(len(asked)))
"""

# A command that starts a child of its own, says its number, and then ends or waits.
PARENT = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(7)
"""


def leashed(seconds: float) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "fullcircle.orchestration.subreaper", sys.executable, "-c", PARENT, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_leash_ends_the_grandchildren_too(number: signal.Signals) -> None:
    process, grandchild = leashed(600)
    os.kill(process.pid, number)
    assert process.wait(timeout=20) != 0
    assert not Path(f"/proc/{grandchild}").exists(), "the leash ended before what it holds"


def test_a_command_that_is_killed_takes_its_children_along() -> None:
    process, grandchild = leashed(600)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    process.wait(timeout=20)
    assert is_gone(grandchild)


def test_the_exit_code_is_the_command_s() -> None:
    process, grandchild = leashed(0.1)
    assert process.wait(timeout=20) == 7
    assert is_gone(grandchild)


def test_a_signal_to_the_whole_group_reaches_the_command_once_and_stubborn_children_are_killed(tmp_path: Path) -> None:
    said = tmp_path / "asked"
    command = [sys.executable, "-m", "fullcircle.orchestration.subreaper", sys.executable, "-c", STUBBORN, str(said)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)
    assert said.read_text() == "1"
    assert is_gone(grandchild)
