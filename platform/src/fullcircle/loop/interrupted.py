"""Retrains that were stopped while they trained, and the one that the next retrain goes on with."""

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
from fullcircle.core.settings import Settings
from fullcircle.loop.fingerprints import code_files
from fullcircle.tracking.lineage import DATA_DIGEST

if TYPE_CHECKING:
    from fullcircle.tracking.runs import RunState

WITHIN = timedelta(days=8)
"""A retrain that was stopped longer ago is not gone on with: a weekly one learns from newer rows by then."""

KEPT = timedelta(days=30)
"""Folders of jobs that were stopped or failed are removed when nothing was written to them for so long."""

UNTIL, PLAN = "fullcircle.until", "fullcircle.plan"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A retrain that was stopped while it trained.

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
    """The newest retrain, if it was stopped while it trained: by SIGTERM, Ctrl-C or a kill.

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
        if _may_go_on(project, state, candidates):
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
    """Remove the folders of jobs that nobody went on with for long."""
    oldest = time.time() - KEPT.total_seconds()
    jobs = settings.home / "jobs"
    for folder in jobs.iterdir() if jobs.is_dir() else ():
        if _written(folder) < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _may_go_on(project: Project, state: RunState, candidates: Mapping[str, RunState]) -> bool:
    if not (state.preempted or state.status == "KILLED") or state.tags.get(PLAN) != plan(project):
        return False
    if UNTIL not in state.tags or time.time() - state.started_s > WITHIN.total_seconds():
        return False
    # Stopped after its training, it may have registered or released already: that is for `recover`.
    return any(name not in candidates or not candidates[name].finished for name in ("baseline", *project.frameworks))


def _written(folder: Path) -> float:
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return max([folder.stat().st_mtime, *times])
