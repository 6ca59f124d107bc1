"""Calls git. Where there is no git, or it does not end in time, there is no answer: no caller fails for want of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(
    folder: Path, *words: str, text: str | None = None, timeout_s: float = 20.0
) -> subprocess.CompletedProcess[str]:
    """What git said in this folder; where it gave no answer, a failure that says so. Raises nothing.

    Args:
        text: its standard input.
    """
    # fsmonitor is a hook that a checkout's own configuration could point at any program.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command,
            input=(text or "").encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return subprocess.CompletedProcess(command, 1, "", "git does not answer")
    out, err = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, err)
