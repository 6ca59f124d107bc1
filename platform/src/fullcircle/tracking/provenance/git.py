"""Runs git. Without git, or when it does not end in time, there is no answer: no caller fails for want of it.

The folder that is asked about decides which repository answers. In a git hook the environment names another one
(`GIT_DIR`, `GIT_INDEX_FILE`, `GIT_WORK_TREE`, ...): what begins with GIT_ is not passed on, but for `KEPT`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

KEPT = frozenset({
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_CONFIG_GLOBAL",  # the user's own configuration elsewhere; it names no repository
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
})  # fmt: skip
UNANSWERED = 127
"""Exit code of a call that git did not answer: it is not here, or it did not end in time."""
MAX_OUTPUT_BYTES = 64_000_000
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment (or another one) without what would send git to another repository."""
    env = os.environ if env is None else env
    return {name: value for name, value in env.items() if not name.startswith("GIT_") or name in KEPT}


def git(
    folder: Path, *words: str, text: str | None = None, timeout_s: float = 20.0
) -> subprocess.CompletedProcess[str]:
    """What git said in this folder; where it gave no answer, a failure that says so. Raises nothing.

    Its output is kept up to `MAX_OUTPUT_BYTES`; bytes that are no UTF-8 are surrogates in it, as `os.fsdecode` has it.

    Args:
        text: its standard input.
    """
    # Programs that a checkout's own configuration names do not run for a look: fsmonitor is one. Its filters do:
    # without them (LFS, nbstripout) nobody could tell what was changed, and the files would not be those of the commit.
    command = ["git", "-c", "core.fsmonitor=false", "--no-pager", "-C", str(folder), *words]
    try:
        with tempfile.TemporaryFile() as out:
            done = subprocess.run(
                command,
                input=(text or "").encode(errors="surrogateescape"),
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
                env={**environment(), **_QUIET},
            )
            out.seek(0)
            said = out.read(MAX_OUTPUT_BYTES).decode(errors="surrogateescape")
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, UNANSWERED, "", "git is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, UNANSWERED, "", f"git did not answer within {timeout_s:.0f} s")
    except (OSError, ValueError) as error:
        return subprocess.CompletedProcess(command, UNANSWERED, "", f"git cannot be run ({error})")
    return subprocess.CompletedProcess(command, done.returncode, said, done.stderr.decode(errors="replace"))
