"""Nodes of a lineage trace behind a run: code, environment and data, each with what is missing of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.records.ledger_entries import Entry
from fullcircle.core.records.lineage_trace import MissingNode, NodeKind, TraceNode
from fullcircle.core.records.releases import ModelVersion
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.provenance.git_worktree import has_commit, top_of
from fullcircle.tracking.provenance.origin import origin_of, said_in_tags
from fullcircle.tracking.provenance.run_provenance import installed, packages

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion
    from fullcircle.tracking.reader.mlflow_reader import MlflowReader
    from fullcircle.tracking.reader.records import RunRecord


def code(reader: MlflowReader, origin: RunRecord | None, checkout: Path) -> TraceNode:
    """The commit, what was uncommitted, and whether this checkout has it."""
    from fullcircle.tracking.runs.run_schema import BRANCH, COMMIT, DIFF, DIRTY, NOTE

    if origin is None:
        return unknown(NodeKind.CODE, "the code", "nobody can say which code trained it")
    commit = origin.tags.get(COMMIT, "")
    dirty = origin.tags.get(DIRTY) == "true"
    if not commit:
        none = MissingNode(
            what=f"run {origin.run_id[:12]} was not under git",
            why=origin.tags.get(NOTE) or "nobody can say which code trained it",
            hint="put the project under git: the next run keeps its commit and what is uncommitted",
        )
        return TraceNode(kind=NodeKind.CODE, facts={}, missing=(none,))
    diff = reader.text(origin, DIFF) if dirty else None
    top = top_of(checkout)
    here = has_commit(top, commit) if top is not None else None
    missing = []
    if here is not True:
        missing.append(
            MissingNode(
                what=f"commit {commit[:12]} is not in {'this checkout' if here is False else 'a git checkout here'}",
                why="the code that trained it cannot be read here",
                hint="run this in the project's checkout, or fetch the branch that has it",
            )
        )
    if dirty and diff is None:
        missing.append(_no_artifact(origin, DIFF, "the code was changed after its commit, and how is lost"))
    changed = f" with uncommitted changes ({len(diff.encode()):,} bytes)" if diff else ""
    return TraceNode(
        kind=NodeKind.CODE,
        title=f"commit {commit[:12]}{changed}",
        facts={
            "commit": commit,
            "branch": origin.tags.get(BRANCH, ""),
            "dirty": dirty,
            "diff_bytes": len(diff.encode()) if diff else 0,
            "diff_files": re.findall(r"^diff --git a/.* b/(.*)$", diff or "", re.MULTILINE),
            "in_checkout": here is True,
            "run": origin.run_id,
        },
        missing=tuple(missing),
    )


def environment(reader: MlflowReader, origin: RunRecord | None) -> TraceNode:
    """The installed packages, and in what they differ from here."""
    from fullcircle.tracking.runs.run_schema import PROVENANCE, REQUIREMENTS

    digest = ""
    if origin is not None:
        said = None if said_in_tags(origin.tags) else reader.text(origin, PROVENANCE)
        digest = origin_of(said, origin.tags).environment
    if origin is None or not digest:
        return unknown(NodeKind.ENVIRONMENT, "the environment", "it cannot be made again")
    text = reader.text(origin, REQUIREMENTS)
    here, digest_here = installed()
    then, now = packages(text or ""), packages(here)
    differs = {
        name: {"then": then.get(name, ""), "here": now.get(name, "")}
        for name in sorted({*then, *now})
        if text is not None and then.get(name) != now.get(name)
    }
    if text is None:
        said = "the same as here" if digest == digest_here else "not the one here"
    elif differs:
        said = f"{len(then)} packages, {len(differs)} differ here"
    else:
        said = f"{len(then)} packages, as here{'' if digest == digest_here else ', with another Python'}"
    gone = _no_artifact(
        origin, REQUIREMENTS, "its packages are known by their digest alone, and cannot be installed again"
    )
    return TraceNode(
        kind=NodeKind.ENVIRONMENT,
        title=f"{digest[:12]}, {said}",
        facts={
            "digest": digest,
            "same_as_here": digest == digest_here,
            "packages": len(then),
            "differs": differs,
            "run": origin.run_id,
        },
        missing=(gone,) if text is None else (),
    )


def data(
    workspace: Workspace,
    reader: MlflowReader,
    origin: RunRecord | None,
    version: ModelVersion | None,
    entries: Sequence[Entry],
    number: str,
) -> TraceNode:
    """The data version, and whether the DVC remote still has all of it."""
    from fullcircle.tracking.runs.run_schema import DATA, DATA_DIGEST

    released = next((entry.data_digest for entry in reversed(entries) if entry.version == number), "")
    digest = (
        (origin.data_digest if origin else "") or (version.tags.get(DATA_DIGEST, "") if version else "") or released
    )
    if not digest:
        return unknown(NodeKind.DATA, "the data version", "nobody can say which rows it learned from")
    kept = _kept_data(reader, origin)
    if kept is None:
        gone = MissingNode(
            what=f"what data version {digest} holds is not kept with any run that is left",
            why="its files cannot be named, and 'fullcircle data restore' cannot bring them back",
            hint=f"artifact {DATA} of the run, or of its parent, was deleted: bring it back from a backup",
        )
        return TraceNode(kind=NodeKind.DATA, title=digest, facts={"digest": digest}, missing=(gone,))
    absent = _absent(workspace, kept)
    span = f"{kept.start:%Y-%m-%d} to {kept.end:%Y-%m-%d}"
    return TraceNode(
        kind=NodeKind.DATA,
        title=f"{digest}: {kept.rows:,} rows in {len(kept.files)} files, {span}",
        facts={
            "digest": digest,
            "rows": kept.rows,
            "bytes": kept.size_bytes,
            "start": kept.start,
            "end": kept.end,
            "files": dict(kept.files),
            "remote": workspace.settings.dvc_remote,
            "comes_back": not absent,
        },
        missing=absent,
    )


def unknown(kind: NodeKind, what: str, why: str) -> TraceNode:
    """A link of which nothing is left."""
    gone = MissingNode(
        what=f"{what} is not known", why=why, hint="neither its run nor its version is left to say so, or neither does"
    )
    return TraceNode(kind=kind, facts={}, missing=(gone,))


def _absent(workspace: Workspace, kept: DataVersion) -> tuple[MissingNode, ...]:
    hint = f"is {workspace.settings.dvc_remote} the remote that it was pushed to? Else bring it back from a backup"
    why = "'fullcircle data restore' cannot bring these rows back from the remote"
    try:
        absent = workspace.data_versions.absent(kept)
    except DataUnavailable as error:
        return (MissingNode(what=error.what, why="nobody can say whether the rows can come back", hint=error.hint),)
    if not absent:
        return ()
    named = ", ".join(f"{path or 'its list of files'} ({oid})" for path, oid in absent[:3])
    more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    return (MissingNode(what=f"the DVC remote has not all of {kept.digest}: {named}{more}", why=why, hint=hint),)


def _kept_data(reader: MlflowReader, origin: RunRecord | None) -> DataVersion | None:
    """The data version that a run or its parent keeps."""
    if origin is None:
        return None
    if (kept := reader.data(origin)) is not None:
        return kept
    parent = reader.run(origin.parent) if origin.parent else None
    return reader.data(parent) if parent else None


def _no_artifact(origin: RunRecord, path: str, why: str) -> MissingNode:
    return MissingNode(
        what=f"run {origin.run_id} has no artifact {path}", why=why, hint="bring the run's artifacts back from a backup"
    )
