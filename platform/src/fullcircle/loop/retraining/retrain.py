"""One retrain from end to end: check rows, version data, split, train, judge, register, release."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.temporary_folders import in_use
from fullcircle.data.contract import enforce
from fullcircle.data.parquet_reader import count, read, typed
from fullcircle.data.partitions import partitions, survey
from fullcircle.data.splits import split
from fullcircle.loop import progress
from fullcircle.loop.clock import now, refuse_ahead, replay_time
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.promotion.release import recover, refuse_moved
from fullcircle.loop.retraining.interim_analyses import nothing_compared
from fullcircle.loop.retraining.judge_and_release import ReleaseRequest, RetrainContext, judge_and_release
from fullcircle.loop.retraining.measure_latency import graph_path
from fullcircle.loop.retraining.resume import (
    InterruptedRetrain,
    find_interrupted,
    give_up,
    mark_orphans,
    plan_tags,
    resumable,
    sweep,
)
from fullcircle.loop.retraining.retrain_budget import RetrainTrigger, claim_retrain
from fullcircle.loop.retraining.retrain_lease import FencedStep, retrain_lease
from fullcircle.loop.retraining.retrain_result import RetrainResult
from fullcircle.loop.retraining.run_summary import write_summary
from fullcircle.loop.retraining.select_challenger import cleanup, export_candidates
from fullcircle.loop.retraining.train_candidates import load_champion, prepare, train
from fullcircle.loop.steps import Step, plain
from fullcircle.loop.training_runs.run_training import job_folder
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease
from fullcircle.tracking.runs.run_tags import REASON

if TYPE_CHECKING:
    import pandas as pd

    from fullcircle.core.records.dataset import DataVersion, Split, SplitFrames
    from fullcircle.tracking.runs.run_store import RunWriter


@retry_outages
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
    asked: RetrainTrigger | None = None,
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
        with (
            retrain_lease(project, workspace, wait=wait) as own,
            claim_retrain(project, workspace, asked or RetrainTrigger(), reason) as claim,
        ):
            made = retrain(
                project, workspace, until=until, reason=reason, decided_by=decided_by, step=step, wait=wait, lease=own
            )
            if why := nothing_compared(workspace, made.run_id):
                claim.give_back(why)
            return made
    refuse_ahead(project, workspace, until, "--until")
    step = fenced = FencedStep(step, workspace, lease)
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
        context = RetrainContext(
            project=project,
            workspace=workspace,
            prepared=prepared,
            learned_from=(data, split),
            parent=parent.id,
            at=at,
            # In a replay, what was decided was decided when it had come so far.
            release=ReleaseRequest(reason, decided_by, replay_time(project, workspace) or until, lease),
        )
        judged, promoted = judge_and_release(context, trained, champion, step, fenced.check)
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
        write_summary(project, workspace, parent, judged.challenger.trained, prepared, result, promoted)
    cleanup(
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
    stopped: InterruptedRetrain | None,
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
    parts = partitions(project, until)
    data = workspace.data_versions.commit(project, parts)
    if rows is not None and (found := count(parts, project, until)) != rows:
        what = f"project {project.name!r}: {rows:,} rows were checked, and the files have {found:,} now"
        raise DataUnavailable(what, hint="they changed meanwhile: try again; nothing was trained")
    progress.current().stage("version the data", f"{data.digest[:12]}, {len(data.files)} partitions")
    return data


def split_rows(project: Project, rows: pd.DataFrame, until: datetime) -> tuple[Split, SplitFrames]:
    """Train, validation and test rows in the order of time. Raises LeakageFound."""
    made, frames = split(project, rows, now=until)
    counts = f"{made.train.rows:,} train, {made.validation.rows:,} validation, {made.test.rows:,} test rows"
    progress.current().stage("split by time", counts)
    return made, frames


def _clean_up(project: Project, workspace: Workspace, until: datetime | None) -> InterruptedRetrain | None:
    """Settle what killed processes left behind; returns the retrain that is to be gone on with, if there is one."""
    if ended := workspace.run_store.end_abandoned(project):
        progress.current().note(f"runs of killed processes that were marked as killed: {ended}")
    for sentence in recover(project, workspace):
        progress.current().note(sentence)
    refuse_moved(project, workspace)
    sweep(workspace.settings)
    found = find_interrupted(project, workspace, until)
    for sentence in mark_orphans(project, workspace, found.run_id if found else None):
        progress.current().note(sentence)
    return found


def _of_the_same_rows(
    project: Project, stopped: InterruptedRetrain | None, data: DataVersion, workspace: Workspace
) -> InterruptedRetrain | None:
    """The retrain that was stopped, unless the rows are others by now: nobody will go on with it then."""
    if stopped is None or stopped.data == data.digest:
        return stopped
    give_up(workspace, stopped.run_id, stopped.candidates, "the rows changed")
    for sentence in mark_orphans(project, workspace, None):
        progress.current().note(sentence)
    return None
