"""Restores a run's code: its commit in a git worktree of its own, with its uncommitted changes applied.

Nothing of the user's checkout changes: a worktree shares only git's objects with it, and is taken away at the end.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fullcircle.core.errors import UsageError
from fullcircle.tracking.provenance.git import git
from fullcircle.tracking.provenance.uncommitted import pieces_of
from fullcircle.tracking.secrets.patch_masking import unmasked_patch

LONGEST_S = 300.0
"""A large repository takes its time to be checked out."""
_NAMED_ONLY = re.compile(r"^Binary files .* differ$", re.MULTILINE)
_REFUSED = re.compile(r"^error: (.*)$", re.MULTILINE)


def top_of(folder: Path) -> Path | None:
    """The top of the git checkout around a folder; None outside git."""
    done = git(folder, "rev-parse", "--show-toplevel")
    return Path(done.stdout.removesuffix("\n")) if done.returncode == 0 else None


def has_commit(repository: Path, commit: str) -> bool:
    """Whether the commit is in this repository."""
    return git(repository, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


@contextlib.contextmanager
def worktree(repository: Path, commit: str, folder: Path, *, keep: bool = False) -> Iterator[Path]:
    """The commit's files in `folder`, which is made, and removed at the end unless `keep`.

    Raises:
        UsageError: git cannot check it out.
    """
    # No hook of the repository runs: a hook is a program, and this is only a look.
    add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        done = git(repository, *add, timeout_s=LONGEST_S)
        if done.returncode != 0:
            why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "git failed"
            raise UsageError(f"commit {commit[:12]} cannot be checked out of {repository} ({why})")
        yield folder
    finally:
        if not keep:
            git(repository, "worktree", "remove", "--force", str(folder), timeout_s=LONGEST_S)
            shutil.rmtree(folder, ignore_errors=True)
            git(repository, "worktree", "prune", timeout_s=LONGEST_S)


def apply(folder: Path, patch: str) -> str:
    """Apply a patch to the files of a worktree, all of it or nothing; returns why not, "" when it was applied.

    What it only names (binary files) is left as it is, and what it has markers for in lines of the commit is put back.
    """
    whole = "".join(piece for _, piece in pieces_of(patch) if not _NAMED_ONLY.search(piece))
    if not whole:
        return ""
    whole = unmasked_patch(whole, lambda name: _lines_of(folder / name))
    done = git(folder, "apply", "--whitespace=nowarn", "-", text=whole, timeout_s=LONGEST_S)
    if done.returncode == 0:
        return ""
    found = _REFUSED.search(done.stderr)
    return found.group(1) if found else done.stderr.strip() or "git apply failed"


def _lines_of(path: Path) -> list[str]:
    """The lines of a file, by line feeds alone. Links out of the worktree are not followed."""
    try:
        return [] if path.is_symlink() else path.read_bytes().decode(errors="surrogateescape").split("\n")
    except OSError:
        return []
