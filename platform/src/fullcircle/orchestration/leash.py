"""Keeps a server that starts processes of its own together: `python -m fullcircle.orchestration.leash COMMAND ...`.

MLflow's server and Prefect's worker start children that outlive them when they are killed. This adopts all of them
(prctl(2), PR_SET_CHILD_SUBREAPER), passes SIGTERM on to the whole group and ends when the last of them has.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 8  # less than what `core.processes.Service` waits before it kills


def main(command: Sequence[str]) -> int:
    """Run the command until it ends, or until SIGTERM or SIGINT; then end all that it started.

    Returns:
        The command's exit code (negative: the signal that ended it).
    """
    if os.getpgrp() != os.getpid():
        os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end())
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(os.getpgrp(), signal.SIGKILL))
    first = subprocess.Popen(list(command)).pid
    code = 1
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return code
        if ended == first:
            code = os.waitstatus_to_exitcode(status)
            _end()


def _end() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(PATIENCE_S)
    os.killpg(os.getpgrp(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
