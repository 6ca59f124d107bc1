"""Resumes a retrain that was stopped before its end, and marks the versions that no retrain resumes as orphans.

One that was killed after its training, even after it registered its version, is gone on with from there: what is
trained and registered is neither trained nor registered again. A version that no retrain goes on with is an orphan, and
says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import Preempted
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import RELEASING
from fullcircle.core.settings import Settings
from fullcircle.core.system import temporary_folders
from fullcircle.loop.retraining.select_challenger import delete_exports
from fullcircle.loop.training_runs.run_fingerprint import code_files
from fullcircle.loop.training_runs.run_training import delete_workdir
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.runs.run_schema import ORPHAN, RETRAIN
from fullcircle.tracking.runs.run_tags import DATA, PLAN, VERSION, packed, parts

if TYPE_CHECKING:
    from fullcircle.tracking.runs.run_store import RunState

WITHIN = timedelta(days=8)
"""A retrain that was stopped longer ago is not gone on with: a weekly one learns from newer rows by then."""

KEPT = timedelta(days=30)
"""Folders of jobs that were stopped or failed are removed when nothing was written to them for so long."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class InterruptedRetrain:
    """A retrain that was stopped before its challenger was released or nominated.

    Attributes:
        until: it learns from rows before this.
        data: digest of its data version.
        candidates: framework -> run of a candidate that was begun.
    """

    run_id: str
    until: datetime
    data: str
    candidates: Mapping[str, RunState]


def plan_tags(project: Project, until: datetime) -> dict[str, str]:
    """The tag of a retrain's run by which it is known again: what it learns until, with which code and parameters."""
    return {PLAN: packed({"until": until.isoformat(), "digest": plan(project)})}


def until_of(tags: Mapping[str, str]) -> str:
    """Before which moment (ISO 8601) the rows are that a retrain's run with these tags learns from; "" unless said."""
    return parts(tags, PLAN).get("until", "")


def plan(project: Project) -> str:
    """Digest of the project's code and of its parameters of training: a retrain goes on only with the same ones."""
    sha = hashlib.sha256()
    for name, path in code_files(project.folder):
        sha.update(str(name).encode() + path.read_bytes())
    parameters = json.dumps(dataclasses.asdict(project.training), sort_keys=True, default=repr)
    sha.update(_ADDRESS.sub("", parameters).encode())
    return sha.hexdigest()


def find_interrupted(project: Project, workspace: Workspace, until: datetime | None) -> InterruptedRetrain | None:
    """The newest retrain, if it was stopped before its release: by SIGTERM, Ctrl-C, a kill, or a tracker that was away.

    One whose challenger is in the ledger came to all that matters: what its run lacks is written into it.

    Args:
        until: only one that learns until this very moment; None: until any.
    """
    run_store = workspace.run_store
    for state in run_store.states(project, "retrain"):
        if until is not None and until_of(state.tags) != until.isoformat():
            continue
        candidates = {
            child.tags.get("fullcircle.framework", ""): child for child in run_store.children(project, state.run_id)
        }
        if state.status == "KILLED" and _came_to_its_end(project, workspace, state, candidates):
            return None
        if _may_go_on(project, workspace.settings, state, candidates):
            return InterruptedRetrain(
                run_id=state.run_id,
                until=datetime.fromisoformat(until_of(state.tags)),
                data=state.tags.get(DATA, ""),
                candidates=candidates,
            )
        if state.preempted:
            give_up(workspace, state.run_id, candidates, "its code or parameters changed, or it is too long ago")
        return None
    return None


def give_up(workspace: Workspace, run_id: str, candidates: Mapping[str, RunState], why: str) -> None:
    """End a preempted retrain and its candidates: nobody goes on with it any more."""
    run_store = workspace.run_store
    for each in (*(child.run_id for child in candidates.values() if child.preempted), run_id):
        run_store.give_up(each, f"it was preempted and not gone on with: {why}")


def mark_orphans(project: Project, workspace: Workspace, going_on: str | None) -> tuple[str, ...]:
    """Tag the versions that a retrain registered and never released or nominated, and that nobody goes on with.

    Args:
        going_on: the run of the retrain that is gone on with.

    Returns:
        A sentence for each that was tagged now. Safe to call twice.
    """
    from fullcircle.store.champion_ledger import Ledger

    registry = workspace.registry
    known = {entry.version for entry in Ledger(workspace.database).entries(project.name)}
    left = [
        version
        for version in registry.versions(project.name)
        if version.version not in known
        and ORPHAN not in version.tags
        and version.tags.get(RETRAIN, "") not in ("", going_on)
        and not version.aliases
    ]
    if not left:
        return ()
    states = {state.run_id: state for state in workspace.run_store.states(project, "retrain")}
    said = []
    for version in left:
        state = states.get(version.tags[RETRAIN])
        if state is None or state.finished or state.status == "RUNNING" or VERSION in state.tags:
            continue  # of before there was a ledger, or it is being made
        why = f"its retrain {state.run_id[:12]} ended ({state.status}) before it was released or nominated"
        registry.tag(project.name, version.version, {ORPHAN: why})
        said.append(f"version {version.version} is an orphan: {why}, and nobody goes on with it")
    return tuple(said)


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """A preemption in this block says by which command it is gone on with."""
    try:
        yield
    except Preempted as error:
        raise Preempted(f"preempted at step {error.step:,}, resumable: {command}", step=error.step) from error


def sweep(settings: Settings) -> None:
    """Remove the folders of jobs that nobody went on with for long, and exports that nobody is at work on."""
    temporary_folders.sweep(settings.home / "exports")
    oldest = time.time() - KEPT.total_seconds()
    jobs = settings.home / "jobs"
    for folder in jobs.iterdir() if jobs.is_dir() else ():
        if _written(folder) < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _came_to_its_end(
    project: Project, workspace: Workspace, state: RunState, candidates: Mapping[str, RunState]
) -> bool:
    """Whether its challenger is in the ledger; its run then says so, and its working files go."""
    from fullcircle.store.champion_ledger import Ledger

    if VERSION in state.tags:
        return True
    made = {
        each.version for each in workspace.registry.versions(project.name) if each.tags.get(RETRAIN) == state.run_id
    }
    entries = [entry for entry in Ledger(workspace.database).entries(project.name) if entry.version in made]
    if not entries:
        return False
    promoted = any(entry.action in RELEASING for entry in entries)
    tags = {
        VERSION: entries[0].version,
        "verdict": entries[0].verdict,
        "champion": f"{entries[0].version}, was {entries[0].previous or 'none'}" if promoted else "as it was",
    }
    workspace.run_store.append(state.run_id).tags(tags)
    delete_workdir(workspace.settings, state.key)
    for child in candidates.values():
        delete_workdir(workspace.settings, child.key)
        delete_exports(workspace.settings, child.run_id)
    return True


def _may_go_on(project: Project, settings: Settings, state: RunState, candidates: Mapping[str, RunState]) -> bool:
    if not (state.preempted or state.status == "KILLED") or parts(state.tags, PLAN).get("digest") != plan(project):
        return False
    if not until_of(state.tags) or time.time() - state.started_s > WITHIN.total_seconds():
        return False
    # What is finished is taken from its folder; without that it would be trained again, and in vain.
    return all((settings.home / "jobs" / child.key).is_dir() for child in candidates.values() if child.finished)


def _written(folder: Path) -> float:
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return max([folder.stat().st_mtime, *times])
