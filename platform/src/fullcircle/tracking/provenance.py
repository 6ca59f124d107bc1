"""Where a run comes from: code commit, uncommitted changes, environment and process. Works outside git, too."""

from __future__ import annotations

import difflib
import getpass
import hashlib
import os
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path

from fullcircle.core.processes import process_exists

MAX_DIFF_BYTES = 2_000_000
_MAX_UNTRACKED_BYTES = 200_000


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The code and the environment of one run.

    Attributes:
        commit: git commit, or "" outside git (or before the first commit).
        branch: git branch, or "" when detached or outside git.
        diff: uncommitted changes as a patch, untracked .py files included; "" when clean.
        requirements: one `name==version` line for each installed distribution, sorted.
        environment: SHA-256 over the Python version and `requirements`.
    """

    commit: str
    branch: str
    diff: str
    requirements: str
    environment: str

    @property
    def dirty(self) -> bool:
        """Whether the code differs from `commit`."""
        return bool(self.diff)


def provenance(folder: Path) -> Provenance:
    """Look at the git checkout around `folder` (if any) and at this interpreter's environment."""
    requirements, environment = installed()
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    branch = _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD").strip()
    return Provenance(
        commit=commit,
        branch=branch,
        diff=_uncommitted(folder, commit),
        requirements=requirements,
        environment=environment,
    )


@lru_cache(maxsize=1)
def installed() -> tuple[str, str]:
    """(`name==version` lines, SHA-256 over them and the Python version). Looked up once a process: takes 0.1 s."""
    found = {(d.metadata["Name"] or "").lower().replace("_", "-"): d.version for d in distributions()}
    requirements = "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)
    digest = hashlib.sha256(f"python=={platform.python_version()}\n{requirements}".encode()).hexdigest()
    return requirements, digest


def knows_commit(folder: Path, commit: str) -> bool | None:
    """Whether the git checkout around `folder` has this commit; None when there is no checkout."""
    if not _git(folder, "rev-parse", "--show-toplevel"):
        return None
    return bool(_git(folder, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"))


def user() -> str:
    """The user's name; "unknown" where the system has none (a container with a bare uid)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def program() -> str:
    """The name of the program that runs, for MLflow's `mlflow.source.name`."""
    return Path(sys.argv[0]).name or "python" if sys.argv else "python"


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


def process_mark(pid: int) -> str:
    """What tells process `pid` of this boot from a later one with the same id; "" when it is dead."""
    try:
        # Field 22 is the start time; the name in field 2 may hold spaces and parentheses.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return "" if stat[0] in "ZX" else f"{boot}-{pid}-{stat[19]}"
    except (OSError, IndexError):
        return "" if not process_exists(pid) else f"{pid}"


def _uncommitted(folder: Path, commit: str) -> str:
    if not commit:
        return ""
    patch = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color")
    root = Path(_git(folder, "rev-parse", "--show-toplevel").strip() or folder)
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    # Only .py files: what else lies around untracked may be data or a secret.
    patch += "".join(_as_new(root, name) for name in sorted(untracked) if name.endswith(".py"))
    if len(patch) > MAX_DIFF_BYTES:
        return patch[:MAX_DIFF_BYTES] + "\n# ... cut: the uncommitted changes are larger than this\n"
    return patch


def _as_new(root: Path, name: str) -> str:
    path = root / name
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_UNTRACKED_BYTES:
            return f"# untracked, not kept: {name}\n"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return f"# untracked, not readable: {name}\n"
    return f"diff --git a/{name} b/{name}\nnew file mode 100644\n" + "".join(
        difflib.unified_diff([], lines, "/dev/null", f"b/{name}")
    )


def _git(folder: Path, *words: str) -> str:
    """Output of a git command that only reads, or "" when it fails."""
    # fsmonitor is a hook that a checkout's own configuration could point at any program.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
