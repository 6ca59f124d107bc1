"""Where a run comes from: code commit, uncommitted changes, environment and process. Works outside git, too."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import socket
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from fullcircle.tracking.git import git

MAX_DIFF_BYTES = 2_000_000
MAX_NOT_KEPT = 100
CUT = "# ... cut"
_MAX_UNTRACKED_BYTES = 200_000
_FIELD = re.compile(r"^(Name|Version):\s*(.*?)\s*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\r?\n\r?\n")
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_TEXT = re.compile(r"^--- (.*?)\t?\n\+\+\+ (.*?)\t?\n@@.*", re.MULTILINE | re.DOTALL)
_UNREADABLE = "\ufffd"
"""In the place of bytes that are no UTF-8."""
_BINARY = re.compile(r"^Binary files (?:/dev/null|a/(.+?)) and (?:/dev/null|b/(.+)) differ$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The code and the environment of one run.

    Attributes:
        commit: git commit, or "" outside git (or before the first commit).
        branch: git branch, or "" when detached or outside git.
        repository: top of the git checkout; "" outside git.
        folder: the project's folder, relative to `repository`; outside git its absolute path.
        platform: the folder that this package is imported from, relative to `repository`; "" where it lies elsewhere.
        diff: uncommitted changes as a patch, untracked .py files included; "" when clean.
        not_kept: files that are part of the uncommitted changes and not of `diff`: binary, too large, not Python, not
            in UTF-8.
        requirements: one `name==version` line for each installed distribution, sorted.
        environment: SHA-256 over the Python version and `requirements`.
    """

    commit: str
    branch: str
    repository: str
    folder: str
    platform: str
    diff: str
    not_kept: tuple[str, ...]
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
    top = _git(folder, "rev-parse", "--show-toplevel").rstrip("\n") if commit else ""
    diff, not_kept = _uncommitted(folder, Path(top)) if top else ("", ())
    return Provenance(
        commit=commit,
        branch=branch,
        repository=top,
        folder=_below(folder, top) if top else str(folder.resolve()),
        platform=_below(Path(__file__).parents[2], top) if top else "",
        diff=diff,
        not_kept=not_kept,
        requirements=requirements,
        environment=environment,
    )


@lru_cache(maxsize=1)
def installed() -> tuple[str, str]:
    """(`name==version` lines, SHA-256 over them and the Python version). Looked up once a process: takes 0.05 s."""
    found: dict[str, str] = {}
    for each in distributions():
        name, version = _named(each)
        # Of two of one name the first is what an import finds.
        found.setdefault(name.lower().replace("_", "-"), version)
    requirements = "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)
    digest = hashlib.sha256(f"python=={platform.python_version()}\n{requirements}".encode()).hexdigest()
    return requirements, digest


def _named(distribution: Distribution) -> tuple[str, str]:
    """Name and version. `importlib.metadata` parses the whole of the file for each, long description included."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    head = _BLANK_LINE.split(text, maxsplit=1)[0]
    found = dict(reversed(_FIELD.findall(head)))  # of two fields of one name the first one counts
    return found.get("Name", ""), found.get("Version", "")


def packages(requirements: str) -> dict[str, str]:
    """Name -> version of `name==version` lines."""
    pairs = (line.partition("==") for line in requirements.splitlines() if "==" in line)
    return {name.strip(): version.strip() for name, _, version in pairs}


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


def _below(folder: Path, top: str) -> str:
    """The folder relative to the checkout's top; "" when it lies elsewhere, "." for the top itself."""
    folder, root = folder.resolve(), Path(top).resolve()
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else ""


def _uncommitted(folder: Path, root: Path) -> tuple[str, tuple[str, ...]]:
    """(the changes as a patch, names of changed and of new files that it does not hold)."""
    patch, not_kept = _changed(folder)
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    for name in sorted(filter(None, untracked)):
        # Only .py files: what else lies around untracked may be data or a secret.
        text = _as_new(root, name) if name.endswith(".py") else ""
        patch += text
        if not text:
            not_kept.append(name)
    if len(patch) > MAX_DIFF_BYTES:
        patch = patch[:MAX_DIFF_BYTES] + f"\n{CUT}: the uncommitted changes are larger than this\n"
    return patch, tuple(not_kept[:MAX_NOT_KEPT])


def _changed(folder: Path) -> tuple[str, list[str]]:
    """(changes of files that git knows, as a patch; names of changed files that it does not hold)."""
    # As git itself would write it, whatever the user's own configuration says of diffs.
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/")
    done = git(folder, "diff", "HEAD", *plain, "--unified=3", "--inter-hunk-context=0", "--submodule=short")
    if done.returncode != 0:  # a filter of the repository is not installed here, or it took too long
        why = done.stderr.strip().splitlines()
        return f"\n{CUT}: git could not tell the uncommitted changes ({why[-1] if why else 'no reason given'})\n", []
    # With some bytes replaced it would apply nowhere, nor would the rest of the patch: as git has it for binary files.
    files = [
        _TEXT.sub(r"Binary files \1 and \2 differ\n", file) if _UNREADABLE in file else file
        for file in _FILE.split(done.stdout)
    ]
    patch = "".join(files)
    return patch, [new or old for old, new in _BINARY.findall(patch)]


def _as_new(root: Path, name: str) -> str:
    """An untracked file as a patch that makes it, byte for byte; "" for one that is not kept."""
    path = root / name
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_UNTRACKED_BYTES:
            return ""
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    mode = "100755" if os.access(path, os.X_OK) else "100644"
    head = f"diff --git a/{name} b/{name}\nnew file mode {mode}\n"
    if not text:
        return head + "index 0000000..e69de29\n"
    lines = text.split("\n")  # a form feed or a lone carriage return ends no line for git
    ending = "" if lines[-1] == "" else "\n\\ No newline at end of file\n"
    lines = lines[:-1] if lines[-1] == "" else lines
    body = "\n".join(f"+{line}" for line in lines) + (ending or "\n")
    return f"{head}--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n{body}"


def _git(folder: Path, *words: str) -> str:
    """Output of a git command that only reads, or "" when it fails."""
    done = git(folder, *words)
    return done.stdout if done.returncode == 0 else ""
