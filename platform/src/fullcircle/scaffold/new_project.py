"""Make a new project's folder: all of it, or nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from string import Template

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.scaffold.kinds import DEFAULT_KIND, TEMPLATES, parts
from fullcircle.scaffold.tickets_data import MONTHS, tickets
from fullcircle.tracking.provenance.git import git

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
FILES = ("README.md", "runbook.md", "project.py")
IGNORED = "# The rows are versioned by fullcircle, and are large.\n/data/\n__pycache__/\n"


def create(name: str, folder: Path, *, kind: str = DEFAULT_KIND) -> Path:
    """Make `folder/name` with project.py, README.md, runbook.md and six months of data; returns it.

    Args:
        kind: of its target, one of KINDS.

    Raises:
        UsageError: when the name does not fit or something of that name exists already; nothing was touched.
        FullcircleError: when the folder cannot be written; nothing is left behind.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"a project's name must be lower-case letters, digits, '-' and '_', starting with a letter; got {name!r}",
            hint="for example my-project",
        )
    target = folder / name
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already", hint="choose another name, or move it away first")
    # Filled beside its place and renamed: a kill half-way leaves no folder that looks like a project.
    unfinished = folder / f".{name}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "data").mkdir(parents=True)
        _fill(unfinished, name, kind)
        unfinished.rename(target)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise FullcircleError(
            f"cannot make {target} ({error.strerror or error})", hint="run it in a folder that you may write"
        ) from error
    return target


def put_under_git(folder: Path) -> bool:
    """Give a new project a repository and its first commit, so that each of its runs can name its code.

    False, and nothing of it is left, where that cannot be: it lies in a checkout already, which is not ours to commit
    to; there is no git; or git does not know by whose name it is to commit.
    """
    if git(folder, "rev-parse", "--show-toplevel").returncode == 0:
        return False
    steps = (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", f"Begin {folder.name}"))
    if all(git(folder, *step).returncode == 0 for step in steps):
        return True
    shutil.rmtree(folder / ".git", ignore_errors=True)
    return False


def _fill(folder: Path, name: str, kind: str) -> None:
    for month in MONTHS:
        tickets(month, kind=kind).to_parquet(folder / "data" / f"{month}.parquet", index=False)
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    words = parts(kind)
    for file in FILES:
        text = (TEMPLATES / f"{file}.tmpl").read_text(encoding="utf-8")
        (folder / file).write_text(Template(text).substitute(words, name=name), encoding="utf-8")
