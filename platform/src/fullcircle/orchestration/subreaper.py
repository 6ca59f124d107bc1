"""Child subreaper for a server that starts processes: `python -m fullcircle.orchestration.subreaper COMMAND ...`.

MLflow's server and Prefect's worker start children that outlive them when they are killed. This adopts all of them
(prctl(2), PR_SET_CHILD_SUBREAPER), passes SIGTERM on to the whole group and ends when the last of them has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 8  # less than what `core.system.processes.Service` waits before it kills


def main(command: Sequence[str]) -> int:
    """Run the command until it ends, or until SIGTERM or SIGINT; then end all that it started.

    Returns:
        The command's exit code (negative: the signal that ended it).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    # A group of its own: a signal to ours reaches the command once, through us. Prefect's worker kills what it
    # runs when it is asked to end a second time.
    group = subprocess.Popen(list(command), process_group=0).pid
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(group))
    signal.signal(signal.SIGALRM, lambda *_: _kill(group))
    code = 1
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return code
        if ended == group:
            code = os.waitstatus_to_exitcode(status)
            _end(group)


def _end(group: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)


def _kill(group: int) -> None:
    signal.alarm(1)  # again, for what the killed ones leave to us
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for child in _adopted():  # those that left the group
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _adopted() -> list[int]:
    try:
        return [child.pid for child in psutil.Process().children()]
    except (psutil.Error, OSError):
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
