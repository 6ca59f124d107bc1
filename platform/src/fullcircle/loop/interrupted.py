"""Retrains that were stopped before their release, and the one that the next retrain goes on with."""

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

from fullcircle.core import leftovers
from fullcircle.core.errors import Preempted
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.loop.fingerprints import code_files
from fullcircle.tracking.lineage import DATA_DIGEST

if TYPE_CHECKING:
    from fullcircle.tracking.runs import RunState

WITHIN = timedelta(days=8)
"""A retrain that was stopped longer ago is not gone on with: a weekly one learns from newer rows by then."""

KEPT = timedelta(days=30)
"""Folders of jobs that were stopped or failed are removed when nothing was written to them for so long."""

RETRAIN = "fullcircle.retrain"
"""Tag of a model version: the run of the retrain that made it."""
UNTIL, PLAN = "fullcircle.until", "fullcircle.plan"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A retrain that was stopped before its release.

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
    """Tags of a retrain's run by which it is known again: what it learns until, and with which code and parameters."""
    return {UNTIL: until.isoformat(), PLAN: plan(project)}


def plan(project: Project) -> str:
    """Digest of the project's code and of its parameters of training: a retrain goes on only with the same ones."""
    sha = hashlib.sha256()
    for name, path in code_files(project.folder):
        sha.update(str(name).encode() + path.read_bytes())
    parameters = json.dumps(dataclasses.asdict(project.training), sort_keys=True, default=repr)
    sha.update(_ADDRESS.sub("", parameters).encode())
    return sha.hexdigest()


def interrupted(project: Project, settings: Settings, until: datetime | None) -> Interrupted | None:
    """The newest retrain, if it was stopped before its release: by SIGTERM, Ctrl-C, a kill, or a tracker that was away.

    Args:
        until: only one that learns until this very moment; None: until any.
    """
    from fullcircle.tracking.runs import Tracker

    tracker = Tracker(settings)
    for state in tracker.states(project, "retrain"):
        if until is not None and state.tags.get(UNTIL) != until.isoformat():
            continue
        candidates = {
            child.tags.get("fullcircle.framework", ""): child for child in tracker.children(project, state.run_id)
        }
        if _may_go_on(project, state) and not _decided(project, settings, state.run_id):
            return Interrupted(
                run_id=state.run_id,
                until=datetime.fromisoformat(state.tags[UNTIL]),
                data=state.tags.get(DATA_DIGEST, ""),
                candidates=candidates,
            )
        if state.preempted:
            give_up(settings, state.run_id, candidates, "its code or parameters changed, or it is too long ago")
        return None
    return None


def give_up(settings: Settings, run_id: str, candidates: Mapping[str, RunState], why: str) -> None:
    """End a preempted retrain and its candidates: nobody goes on with it any more."""
    from fullcircle.tracking.runs import Tracker

    tracker = Tracker(settings)
    for each in (*(child.run_id for child in candidates.values() if child.preempted), run_id):
        tracker.give_up(each, f"it was preempted and not gone on with: {why}")


@contextlib.contextmanager
def resumable(command: str) -> Iterator[None]:
    """A preemption in this block says by which command it is gone on with."""
    try:
        yield
    except Preempted as error:
        raise Preempted(f"preempted at step {error.step:,}, resumable: {command}", step=error.step) from error


def sweep(settings: Settings) -> None:
    """Remove the folders of jobs that nobody went on with for long, and exports that nobody is at work on."""
    leftovers.sweep(settings.home / "exports")
    oldest = time.time() - KEPT.total_seconds()
    jobs = settings.home / "jobs"
    for folder in jobs.iterdir() if jobs.is_dir() else ():
        if _written(folder) < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _decided(project: Project, settings: Settings, run_id: str) -> bool:
    """Whether a version of the retrain was released or nominated: it came to its end but for a few words."""
    from fullcircle.store.database import Database
    from fullcircle.store.ledger import Ledger
    from fullcircle.tracking.registry import Registry

    known = {entry.version for entry in Ledger(Database(settings)).entries(project.name)}
    made = Registry(settings).versions(project.name)
    return any(each.tags.get(RETRAIN) == run_id and each.version in known for each in made)


def _may_go_on(project: Project, state: RunState) -> bool:
    if not (state.preempted or state.status == "KILLED") or state.tags.get(PLAN) != plan(project):
        return False
    return UNTIL in state.tags and time.time() - state.started_s <= WITHIN.total_seconds()


def _written(folder: Path) -> float:
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return max([folder.stat().st_mtime, *times])
