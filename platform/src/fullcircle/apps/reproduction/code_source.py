"""Checks out the code of a run: its commit and uncommitted changes in a git worktree, or the folder as it is."""

from __future__ import annotations

import ast
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.records.repro_report import Difference, DifferenceKind
from fullcircle.loop.training_runs.run_fingerprint import code_files
from fullcircle.tracking.provenance.git_worktree import apply, has_commit, top_of, worktree
from fullcircle.tracking.provenance.uncommitted import CUT
from fullcircle.tracking.runs.run_schema import COMMIT, DIFF, MASKED, NOT_KEPT
from fullcircle.tracking.secrets.telling_names import MARKER

if TYPE_CHECKING:
    from fullcircle.tracking.provenance.origin import Origin
    from fullcircle.tracking.runs.run_store import RunState, RunStore


@dataclass(frozen=True, kw_only=True)
class CodeSource:
    """Code that a run can be trained with again.

    Attributes:
        project: the project's folder.
        top: the folder to train from.
        platform: folder of the package `fullcircle` that the run had, if that came with the same repository.
        what: where the code came from, for people.
        differences: what of the run's code is not here.
        notes: sentences for people.
    """

    project: Path
    top: Path
    platform: Path | None
    what: str
    differences: tuple[Difference, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


@contextlib.contextmanager
def checkout_source(
    run_store: RunStore, state: RunState, into: Path, *, project: Path | None = None, keep: bool = False
) -> Iterator[CodeSource]:
    """The run's code, in a worktree `into` where its commit can be had, which goes at the end unless `keep`.

    Args:
        project: the project's folder, or one in the same repository; None: as the working folder or the run say.

    Raises:
        UsageError: neither the commit nor the project's folder is on this machine.
    """
    if project is not None and not project.is_dir():
        raise UsageError(f"no folder {project}", hint="--project names the folder with project.py")
    commit, origin = state.tags.get(COMMIT, ""), run_store.origin(state)
    inside = origin.folder
    places = _places(state, origin, project)
    repository = _repository(places, commit) if commit and inside else None
    if repository is None:
        yield _as_it_lies(state, places, commit)
        return
    with worktree(repository, commit, into, keep=keep) as folder:
        what, missing = _changed(run_store, state, folder)
        within = origin.platform
        yield CodeSource(
            project=_require_project(folder / inside, state),
            top=folder,
            platform=folder / within if within else None,
            what=f"commit {commit[:12]} of {repository}{what}",
            differences=missing,
        )


def imported(project: Path) -> tuple[str, ...]:
    """The installed packages that a project's own code imports, by their names on PyPI; nothing is executed."""
    from importlib.metadata import packages_distributions

    modules: set[str] = set()
    for _, path in code_files(project):
        with contextlib.suppress(SyntaxError, ValueError, OSError):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
    names = packages_distributions()
    found = {name for module in modules - sys.stdlib_module_names for name in names.get(module, [module])}
    return tuple(sorted(name.lower().replace("_", "-") for name in found))


def _places(state: RunState, origin: Origin, project: Path | None) -> list[Path]:
    """Folders on this machine in which the project may lie, the likeliest first."""
    if project is not None:
        return [project.resolve()]
    name = state.tags.get("fullcircle.project", "")
    repository = Path(origin.repository)
    here = [Path.cwd() / name, Path.cwd() / "projects" / name, repository / origin.folder]
    lies = [folder.resolve() for folder in here if (folder / "project.py").is_file()]
    return [*lies, Path.cwd(), *([repository] if repository.is_dir() else [])]


def _repository(places: list[Path], commit: str) -> Path | None:
    tops = (top_of(folder) for folder in places)
    return next((top for top in tops if top is not None and has_commit(top, commit)), None)


def _as_it_lies(state: RunState, places: list[Path], commit: str) -> CodeSource:
    folder = _require_project(places[0], state)
    if commit:
        why = f"commit {commit[:12]} is in no repository here"
        missing = [
            Difference(
                kind=DifferenceKind.CODE, name="commit", what=f"{why}: the project was used as it is", then=commit
            )
        ]
        return CodeSource(
            project=folder, top=Path.cwd(), platform=None, what=f"{folder} as it is", differences=(*missing,)
        )
    note = "the project was not in git when the run was made: its folder was used as it is"
    return CodeSource(
        project=folder, top=Path.cwd(), platform=None, what=f"{folder} as it is, not in git", notes=(note,)
    )


def _require_project(folder: Path, state: RunState) -> Path:
    if (folder / "project.py").is_file():
        return folder
    name = state.tags.get("fullcircle.project", "?")
    raise UsageError(
        f"the code of run {state.run_id} is not here: no project.py in {folder}",
        hint=f"--project PATH names the folder of project {name!r}, or one in its repository",
    )


def _changed(run_store: RunStore, state: RunState, folder: Path) -> tuple[str, tuple[Difference, ...]]:
    """Apply the uncommitted changes to a worktree. Returns (what was done, what could not be)."""
    not_kept = [_not_kept(each) for each in json.loads(_text(run_store, state, NOT_KEPT) or "[]")]
    missing = [
        Difference(
            kind=DifferenceKind.FILE,
            name=name,
            what=f"{name or why}: not committed, and not kept with the run" + (f" ({why})" if name and why else ""),
        )
        for name, why in not_kept
        if not name.endswith((".parquet", ".md"))  # rows are in the data version, and words are not learned from
    ]
    missing += _masked(run_store, state)
    patch = _text(run_store, state, DIFF)
    if not patch:
        return "", tuple(missing)
    if f"\n{CUT}" in patch:
        what = "the uncommitted changes are not kept as a whole: they were left out"
        return ", without its uncommitted changes", (*missing, _lost(what))
    if why := apply(folder, patch):
        return ", without its uncommitted changes", (*missing, _lost(f"the uncommitted changes do not apply ({why})"))
    return " and its uncommitted changes", tuple(missing)


def _not_kept(entry: object) -> tuple[str, str]:
    """(name, why) of a file that is only named; of a run of an earlier version the name alone."""
    return (str(entry.get("name", "")), str(entry.get("why", ""))) if isinstance(entry, dict) else (str(entry), "")


def _masked(run_store: RunStore, state: RunState) -> list[Difference]:
    """What was a secret in the uncommitted changes and is in no commit: a marker stands there."""
    return [
        Difference(
            kind=DifferenceKind.CODE,
            name="masked secret",
            what=f"a secret was masked in {each['file']} line {each['line']} ({each['kind']}): set it again there, "
            f"the marker is {MARKER}-{each['number']}",
        )
        for each in json.loads(_text(run_store, state, MASKED) or "[]")
        if each["lost"]
    ]


def _lost(what: str) -> Difference:
    return Difference(kind=DifferenceKind.CODE, name="uncommitted changes", what=what)


def _text(run_store: RunStore, state: RunState, artifact: str) -> str:
    """An artifact's text, its line endings as they are; "" when the run has none."""
    try:
        return run_store.download(state.run_id, artifact).read_bytes().decode()
    except DataUnavailable:
        return ""
