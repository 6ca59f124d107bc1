"""One retrain, the first half of the circle in its order: from checking the rows to releasing the challenger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.records.verdicts import Candidate, Evaluation, Verdict
from fullcircle.core.settings import Settings
from fullcircle.core.system.temporary_folders import in_use
from fullcircle.loop import progress
from fullcircle.loop.budget import Asked, claimed
from fullcircle.loop.candidates import load_champion, prepare, train
from fullcircle.loop.challenger import export_candidates, tidy
from fullcircle.loop.champion.release import recover, refuse_moved
from fullcircle.loop.clock import now, refuse_ahead, replay_time
from fullcircle.loop.conclusion import conclude
from fullcircle.loop.interrupted import Interrupted, give_up, interrupted, mark_orphans, plan_tags, resumable, sweep
from fullcircle.loop.launching import job_folder
from fullcircle.loop.looks import nothing_compared
from fullcircle.loop.outages import outlasts
from fullcircle.loop.rehearse import graph_path
from fullcircle.loop.steps import Step, plain
from fullcircle.loop.succession import Case, Wish, taken_over
from fullcircle.loop.turn import Fenced, turn
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease
from fullcircle.tracking.runs.run_tags import REASON

if TYPE_CHECKING:
    import pandas as pd

    from fullcircle.core.records.dataset import DataVersion, Split, SplitFrames
    from fullcircle.tracking.runs.run_store import RunWriter


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """What a retrain came to.

    Attributes:
        run_id: the parent run, under which each candidate has its own.
        evaluations: framework -> how it did on the test rows, the baseline and the champion included.
        version: the challenger as registered; it is the champion when `promoted`.
    """

    project: str
    run_id: str
    winner_run_id: str
    data: DataVersion
    evaluations: dict[str, Evaluation]
    winner: str
    candidate: Candidate
    verdict: Verdict
    version: ModelVersion
    promoted: bool


@outlasts
def retrain(
    project: Project,
    workspace: Workspace,
    *,
    until: datetime | None = None,
    reason: str = "asked for",
    decided_by: str = "someone",
    step: Step = plain,
    wait: bool = True,
    lease: Lease | None = None,
    asked: Asked | None = None,
) -> RetrainResult:
    """Train a challenger on the data before `until` and release it when the gate says so.

    A retrain that was stopped before its release is gone on with, in the same runs: what is trained is not trained
    again. A tracker that goes away meanwhile is waited for (`FULLCIRCLE_WAIT`).

    Args:
        until: learn from rows before this; default: from all whose labels are known by now (`labels_after`), or from
            those that a retrain that was stopped had learned from.
        wait: for another retrain of the project to end; else LeaseTaken.
        lease: in whose name: of a replay, which holds it from its beginning to its end, and keeps its own budget.
        asked: who asks, and the key by which the same wish is known again; default: a hand, for the first time.

    Raises:
        RetrainRefused: the budget is spent, or this very retrain was made already; nothing was trained.
        LeaseTaken: another retrain of the project is under way, and we do not wait.
        LeaseLost: this one was given up meanwhile, and another one may be under way; nothing more was written.
        ContractViolated: the data breaks the contract; nothing was trained, the batch is kept aside.
        LeakageFound: the split would let the answer or the future in; nothing was trained.
        Preempted: told to stop (SIGTERM); the next retrain goes on with it.
        TrainingFailed, ExportFailed: the champion stays as it was.
        TrackingUnavailable, HomeUnwritable, DatabaseAway: the champion stays as it was; the next retrain goes on.
        FullcircleError: an alias was moved behind the platform's back; nothing was trained.
    """
    if lease is None:
        with turn(project, workspace, wait=wait) as own, claimed(project, workspace, asked or Asked(), reason) as claim:
            made = retrain(
                project, workspace, until=until, reason=reason, decided_by=decided_by, step=step, wait=wait, lease=own
            )
            if why := nothing_compared(workspace, made.run_id):
                claim.give_back(why)
            return made
    refuse_ahead(project, workspace, until, "--until")
    step = fenced = Fenced(step, workspace, lease)
    if (clock := replay_time(project, workspace)) is not None and until is None:
        progress.current().note(f"{project.name} is a replay here: going on in its time, {clock:%Y-%m-%d %H:%M} UTC")
    at = until or now(project, workspace)
    stopped = step("clean up after killed runs", _clean_up, project, workspace, until)
    until = stopped.until if stopped else until or at - project.labels_after
    rows = step("check the data contract", checked_rows, project, workspace.settings, until)
    data = step("version the data", version_data, project, workspace, until, len(rows))
    split, frames = step("split by time", split_rows, project, rows, until)
    stopped = _of_the_same_rows(project, stopped, data, workspace)
    with (
        resumable(f"the next 'fullcircle run {project.name}' or scheduled retrain goes on with it"),
        _parent(project, workspace, until, reason, (data, split), stopped) as parent,
        contextlib.ExitStack() as used,
    ):
        prepared = step("preprocess", prepare, project, frames, job_folder(workspace.settings, parent.key))
        champion = step("load the champion", load_champion, project, workspace, frames.test)
        shared = (prepared, champion, (data, split), parent.id, stopped.candidates if stopped else {})
        trained = [
            step(f"train {framework}", train, project, workspace, framework, *shared)
            for framework in ("baseline", *project.frameworks)
        ]
        for one in trained:
            used.enter_context(in_use(graph_path(workspace.settings, one).parent))
        step("export the one graph", export_candidates, project, workspace, trained, prepared, parent.id)
        case = Case(
            project=project,
            workspace=workspace,
            prepared=prepared,
            learned_from=(data, split),
            parent=parent.id,
            at=at,
            # In a replay, what was decided was decided when it had come so far.
            release=Wish(reason, decided_by, replay_time(project, workspace) or until, lease),
        )
        judged, promoted = taken_over(case, trained, champion, step, fenced.check)
        result = RetrainResult(
            project=project.name,
            run_id=parent.id,
            winner_run_id=judged.challenger.trained.run_id,
            data=data,
            evaluations=judged.evaluations,
            winner=judged.challenger.trained.framework,
            candidate=judged.challenger.candidate,
            verdict=judged.challenger.verdict,
            version=judged.version,
            promoted=promoted,
        )
        conclude(project, workspace, parent, judged.challenger.trained, prepared, result, promoted)
    tidy(
        workspace.settings, trained, parent.key
    )  # last of all: whoever goes on finds the trained candidates in what it removes
    return result


@contextlib.contextmanager
def _parent(
    project: Project,
    workspace: Workspace,
    until: datetime,
    reason: str,
    learned_from: tuple[DataVersion, Split],
    stopped: Interrupted | None,
) -> Iterator[RunWriter]:
    """The retrain's own run: a new one, or that of the retrain that was stopped."""
    run_store = workspace.run_store
    if stopped is not None:
        progress.current().note(f"going on with the retrain that was stopped, run {stopped.run_id[:12]}")
        with run_store.resume(stopped.run_id, project=project) as parent:
            yield parent
        return
    name = f"retrain {until:%Y-%m-%d}"  # short: the UI cuts names off; the tags hold the whole span
    tags = {REASON: reason, **plan_tags(project, until)}
    with run_store.start(project, name=name, kind="retrain", tags=tags) as parent:
        parent.data(*learned_from)
        yield parent


def checked_rows(project: Project, settings: Settings, until: datetime) -> pd.DataFrame:
    """The rows before `until`, checked against the data contract. Raises ContractViolated."""
    from fullcircle.data.contract import enforce
    from fullcircle.data.parquet_reader import read, typed
    from fullcircle.data.partitions import survey

    surveyed = survey(project, until)
    rows = read(surveyed.parts, project, until=until)
    progress.current().stage("check the data contract", f"{len(rows.frame):,} rows")
    for sentence in (*surveyed.notes, *rows.notes):
        progress.current().note(sentence)
    enforce(project, rows.frame, settings.folder("quarantine", project.name))
    return typed(rows.frame, project)


def version_data(project: Project, workspace: Workspace, until: datetime, rows: int | None = None) -> DataVersion:
    """The partitions before `until` as a data version, pushed to the DVC remote.

    Args:
        rows: how many rows of them were read; None: they are still to be read.

    Raises:
        DataUnavailable: they have another number of rows by now: the version would not be what is learned from.
    """
    from fullcircle.data.parquet_reader import count
    from fullcircle.data.partitions import partitions

    parts = partitions(project, until)
    data = workspace.data_versions.commit(project, parts)
    if rows is not None and (found := count(parts, project, until)) != rows:
        what = f"project {project.name!r}: {rows:,} rows were checked, and the files have {found:,} now"
        raise DataUnavailable(what, hint="they changed meanwhile: try again; nothing was trained")
    progress.current().stage("version the data", f"{data.digest[:12]}, {len(data.files)} partitions")
    return data


def split_rows(project: Project, rows: pd.DataFrame, until: datetime) -> tuple[Split, SplitFrames]:
    """Train, validation and test rows in the order of time. Raises LeakageFound."""
    from fullcircle.data.splits import split

    made, frames = split(project, rows, now=until)
    counts = f"{made.train.rows:,} train, {made.validation.rows:,} validation, {made.test.rows:,} test rows"
    progress.current().stage("split by time", counts)
    return made, frames


def _clean_up(project: Project, workspace: Workspace, until: datetime | None) -> Interrupted | None:
    """Settle what killed processes left behind; returns the retrain that is to be gone on with, if there is one."""
    if ended := workspace.run_store.end_abandoned(project):
        progress.current().note(f"runs of killed processes that were marked as killed: {ended}")
    for sentence in recover(project, workspace):
        progress.current().note(sentence)
    refuse_moved(project, workspace)
    sweep(workspace.settings)
    found = interrupted(project, workspace, until)
    for sentence in mark_orphans(project, workspace, found.run_id if found else None):
        progress.current().note(sentence)
    return found


def _of_the_same_rows(
    project: Project, stopped: Interrupted | None, data: DataVersion, workspace: Workspace
) -> Interrupted | None:
    """The retrain that was stopped, unless the rows are others by now: nobody will go on with it then."""
    if stopped is None or stopped.data == data.digest:
        return stopped
    give_up(workspace, stopped.run_id, stopped.candidates, "the rows changed")
    for sentence in mark_orphans(project, workspace, None):
        progress.current().note(sentence)
    return None
