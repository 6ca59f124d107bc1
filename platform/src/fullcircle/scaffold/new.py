"""Make a new project's folder: all of it, or nothing."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path
from string import Template

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.scaffold.tickets import MONTHS, tickets

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
FILES = ("README.md", "runbook.md", "project.py")


def create(name: str, folder: Path) -> Path:
    """Make `folder/name` with project.py, README.md, runbook.md and six months of data; returns it.

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
        _fill(unfinished, name)
        unfinished.rename(target)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise FullcircleError(
            f"cannot make {target} ({error.strerror or error})", hint="run it in a folder that you may write"
        ) from error
    return target


def _fill(folder: Path, name: str) -> None:
    for month in MONTHS:
        tickets(month).to_parquet(folder / "data" / f"{month}.parquet", index=False)
    templates = resources.files("fullcircle.scaffold") / "templates"
    for file in FILES:
        text = (templates / f"{file}.tmpl").read_text(encoding="utf-8")
        (folder / file).write_text(Template(text).substitute(name=name), encoding="utf-8")
