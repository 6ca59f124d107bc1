"""Provenance of a run: git commit, uncommitted changes, environment and process. Works outside git, too."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import re
import socket
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from fullcircle.tracking.provenance.git import UNANSWERED, git
from fullcircle.tracking.provenance.uncommitted import NotKept, Uncommitted, uncommitted
from fullcircle.tracking.secrets.detection import MaskedSecret
from fullcircle.tracking.secrets.patch_masking import masked_patch

_FIELD = re.compile(r"^(Name|Version):\s*(.*?)\s*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\r?\n\r?\n")
_NO_REPOSITORY = "not a git repository"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The code and the environment of one run.

    Attributes:
        commit: git commit, or "" outside git (or before the first commit).
        branch: git branch, or "" when detached or outside git.
        repository: top of the git checkout; "" outside git.
        folder: the project's folder, relative to `repository`; outside git its absolute path.
        platform: the folder that this package is imported from, relative to `repository`; "" where it lies elsewhere.
        diff: uncommitted changes as a patch without its secrets, untracked .py files included; "" when clean.
        not_kept: files that are part of the uncommitted changes and not of `diff`: binary, too large, not Python, not
            in UTF-8.
        masked: the secrets that `diff` has markers for.
        notes: sentences on what is not known of the code, and why.
        requirements: one `name==version` line for each installed distribution, sorted.
        environment: SHA-256 over the Python version and `requirements`.
    """

    commit: str
    branch: str
    repository: str
    folder: str
    platform: str
    diff: str
    not_kept: tuple[NotKept, ...]
    masked: tuple[MaskedSecret, ...]
    notes: tuple[str, ...]
    requirements: str
    environment: str

    @property
    def dirty(self) -> bool:
        """Whether the code differs from `commit`."""
        return bool(self.diff) or any(each.code for each in self.not_kept)


def provenance(folder: Path) -> Provenance:
    """Look at the git checkout around `folder` (if any) and at this interpreter's environment."""
    requirements, environment = installed()
    top, why = _top(folder)
    commit = _git(Path(top), "rev-parse", "--verify", "--quiet", "HEAD").strip() if top else ""
    branch = _git(Path(top), "symbolic-ref", "--short", "--quiet", "HEAD").strip() if top else ""
    if top and not commit:
        why, top = f"the repository {top} has no commit yet: nothing of the code is kept with the run", ""
    found = Uncommitted(patch="", not_kept=())
    masked: tuple[MaskedSecret, ...] = ()
    if top:
        found = uncommitted(Path(top), folder)
        patch, masked = masked_patch(found.patch)
        found = dataclasses.replace(found, patch=patch)
    return Provenance(
        commit=commit,
        branch=branch,
        repository=top,
        folder=_below(folder, top) if top else str(folder.resolve()),
        platform=_below(Path(__file__).parents[3], top) if top else "",
        diff=found.patch,
        not_kept=found.not_kept,
        masked=masked,
        notes=tuple(filter(None, (why, _ignored(folder) if top else "", _left_out(found)))),
        requirements=requirements,
        environment=environment,
    )


def _top(folder: Path) -> tuple[str, str]:
    """(the top of the checkout around a folder, why there is none though there is a repository)."""
    done = git(folder, "rev-parse", "--show-toplevel")
    if done.returncode == 0 and done.stdout.strip():
        return done.stdout.removesuffix("\n"), ""
    said = done.stderr.strip().splitlines()
    around = next((each for each in (folder.resolve(), *folder.resolve().parents) if (each / ".git").exists()), None)
    lost = "the commit of the code is not known"
    if "dubious ownership" in done.stderr:
        where = around or folder
        return "", (
            f"the repository {where} is owned by another user and git refuses to read it: {lost}; "
            f"'git config --global --add safe.directory {where}' lets it"
        )
    if "must be run in a work tree" in done.stderr:
        return "", f"{folder} lies in a repository without a work tree (bare): {lost}"
    if around is not None or (said and _NO_REPOSITORY not in done.stderr and done.returncode != UNANSWERED):
        return (
            "",
            f"the repository {around or folder} cannot be read ({said[0] if said else 'git said nothing'}): {lost}",
        )
    return "", ""


def _ignored(folder: Path) -> str:
    if git(folder, "check-ignore", "--quiet", "project.py").returncode == 0:
        return f"{folder} is ignored by git: its code is neither in the commit nor kept with the run"
    return ""


def _left_out(found: Uncommitted) -> str:
    names = [each.name or each.why for each in found.not_kept if each.code]
    if not names:
        return ""
    shown, more = ", ".join(names[:3]), f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"uncommitted changes that are not kept with the run, only named: {shown}{more} (code/not_kept.json says why)"
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


def _git(folder: Path, *words: str) -> str:
    """Output of a git command that only reads, or "" when it fails."""
    done = git(folder, *words)
    return done.stdout if done.returncode == 0 else ""
