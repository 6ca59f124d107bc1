"""`fullcircle train`: trains and evaluates one model in one MLflow run; nothing is judged or released.

For whoever works on a model. A run that was stopped is gone on with under its id: the same data version, the same
parameters, the newest checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.project.overrides import overridden, recalled
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.security.untrusted import markdown
from fullcircle.core.settings import Settings
from fullcircle.core.tasks import Task
from fullcircle.loop import progress
from fullcircle.loop.clock import now, refuse_ahead
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.retraining.resume import resumable
from fullcircle.loop.retraining.retrain import checked_rows, split_rows, version_data
from fullcircle.loop.retraining.train_candidates import Prepared, evaluate_candidate, parameters, prepare
from fullcircle.loop.training_runs.preflight import (
    KIND,
    original_request,
    require_checkpoint,
    require_trainable,
    with_data,
)
from fullcircle.loop.training_runs.run_fingerprint import JOB, recipe
from fullcircle.loop.training_runs.run_training import JobResult, delete_workdir, job_folder, run_job, warn_unsent
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.ui.ui_links import links
from fullcircle.training.jobs import job_of

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import Split, SplitFrames
    from fullcircle.tracking.runs.run_store import RunWriter
    from fullcircle.training.jobs import TrainJob
    from fullcircle.training.telemetry.energy import EnergyUse
    from fullcircle.training.telemetry.utilisation import Utilisation


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """How a model is to be trained.

    Attributes:
        until: learn from rows before this; None: from all whose labels are known by now.
        where: instead of the project's `compute.where`.
        overrides: `training.learning_rate=0.01` and so on, see `core.project.overrides`.
        profile_steps: steps that the framework's profiler records.
        tensorboard: mirror scalars as TensorBoard event files.
    """

    framework: str
    until: datetime | None = None
    where: str | None = None
    overrides: Sequence[str] = ()
    profile_steps: int = 0
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training came to.

    Attributes:
        where: where it ran, and why there.
        cost: in `currency`; None when no price was told.
    """

    project: str
    framework: str
    run_id: str
    data: DataVersion
    evaluation: Evaluation
    best_epoch: int
    epochs: int
    where: str
    world_size: int
    restarts: int
    utilisation: Utilisation | None
    spent: EnergyUse
    cost: float | None
    currency: str
    notes: tuple[str, ...]


@retry_outages
def train(project: Project, workspace: Workspace, request: TrainRequest) -> TrainResult:
    """Check, version, split, preprocess, train one framework's model, evaluate it on the test rows.

    Raises:
        UsageError: an unknown framework, parameter or place, or a model that does not fit; nothing was trained.
        ContractViolated, LeakageFound: nothing was trained.
        Preempted: told to stop; the line says by which command it is resumed.
        TrainingFailed: the run says why, and nothing of it can be registered.
    """
    project = overridden(project, request.overrides)
    if request.where is not None:
        project = dataclasses.replace(project, compute=dataclasses.replace(project.compute, where=request.where))
    require_trainable(project, request.framework, request.tensorboard)
    refuse_ahead(project, workspace, request.until, "--until")
    until = request.until or now(project, workspace) - project.labels_after
    data, split, frames = _rows(project, workspace, until)

    tags = {"fullcircle.framework": request.framework}
    with workspace.run_store.start(project, name=f"{KIND} {request.framework}", kind=KIND, tags=tags) as run:
        run.data(data, split)
        run.json({**dataclasses.asdict(request), "until": until, **recipe(project)}, JOB)
        result = _trained(project, workspace.settings, run, dataclasses.replace(request, until=until), data, frames)
    warn_unsent(run)
    return result


@retry_outages
def resume(
    project: Project, workspace: Workspace, reference: str, *, framework: str | None = None, where: str | None = None
) -> TrainResult:
    """Go on with a training that was stopped, in the same MLflow run.

    Args:
        reference: its run's id, a unique beginning of the id, or its name.
        framework: None: the run's; another one is refused.
        where: instead of where it ran before; the number of processes may be another one.

    Raises:
        UsageError: no such run, one of another project or framework, one that is finished or still running, or one
            without a checkpoint.
        Others: as `train`; DataUnavailable when its data version cannot come back.
    """
    run_store = workspace.run_store
    run_store.catch_up()  # what it told last may not have been sent
    state = run_store.state(reference)
    told = original_request(run_store, project, state, framework)
    project = recalled(project, told["training"], told["compute"])
    if where is not None:
        project = dataclasses.replace(project, compute=dataclasses.replace(project.compute, where=where))
    request = TrainRequest(
        framework=told["framework"],
        until=datetime.fromisoformat(told["until"]),
        profile_steps=told["profile_steps"],
        tensorboard=told["tensorboard"],
    )
    require_trainable(project, request.framework, request.tensorboard)
    require_checkpoint(project, workspace.settings, state.key)
    version = run_store.data_version(state.run_id)
    with run_store.resume(state.run_id, project=project) as run:
        progress.current().note(f"going on with run {run.id[:12]}")
        assert request.until is not None, "it was written down"
        there = with_data(project, workspace, version, request.until, run.key)
        data, _, frames = _rows(there, workspace, request.until)
        result = _trained(project, workspace.settings, run, request, data, frames, again=True)
    warn_unsent(run)
    return result


def _trained(
    project: Project,
    settings: Settings,
    run: RunWriter,
    request: TrainRequest,
    data: DataVersion,
    frames: SplitFrames,
    *,
    again: bool = False,
) -> TrainResult:
    """The part that a new run and a resumed one share, within the run."""
    prepared = prepare(project, frames, job_folder(settings, run.key))
    progress.current().stage(f"train {request.framework}", f"run {run.id}")
    if not again:
        run.params(parameters(project, request.framework, prepared))
    with _goes_on(f"fullcircle train {project.folder.name} --resume {run.id}"):
        done = run_job(
            project, settings, run, _job(project, settings, request, data, prepared, run.key), rows=len(frames.train)
        )

    judged = evaluate_candidate(project, request.framework, (run.id, run.key), done.outcome.fitted, prepared, None)
    run.evaluation(project.target, judged.evaluation, "test")
    result = _result(project, settings, request, run.id, data, judged.evaluation, done)
    run.note(links(run.experiment_id, data=data.digest) + _note(project.target, result))
    delete_workdir(settings, run.key)
    return result


@contextlib.contextmanager
def _goes_on(command: str) -> Iterator[None]:
    """Whoever stops the training in this block reads by which command it goes on."""
    try:
        with resumable(command):
            yield
    except KeyboardInterrupt:
        progress.current().note(f"to go on from the newest checkpoint: {command}")
        raise


def _rows(project: Project, workspace: Workspace, until: datetime) -> tuple[DataVersion, Split, SplitFrames]:
    rows = checked_rows(project, workspace.settings, until)
    data = version_data(project, workspace, until, len(rows))
    return data, *split_rows(project, rows, until)


def _job(
    project: Project, settings: Settings, request: TrainRequest, data: DataVersion, prepared: Prepared, run_id: str
) -> TrainJob:
    return job_of(
        project,
        framework=request.framework,
        data=data.digest,
        arrays=prepared.arrays,
        run_id=run_id,
        folder=job_folder(settings, run_id),
        profile_steps=request.profile_steps,
        tensorboard=request.tensorboard,
    )


def _result(
    project: Project,
    settings: Settings,
    request: TrainRequest,
    run_id: str,
    data: DataVersion,
    evaluation: Evaluation,
    done: JobResult,
) -> TrainResult:
    outcome = done.outcome
    return TrainResult(
        project=project.name,
        framework=request.framework,
        run_id=run_id,
        data=data,
        evaluation=evaluation,
        best_epoch=outcome.best_epoch,
        epochs=len(outcome.history),
        where=outcome.where,
        world_size=outcome.world_size,
        restarts=outcome.restarts,
        utilisation=done.utilisation,
        spent=done.spent,
        cost=done.spent.cost(settings.prices),
        currency=settings.prices.currency,
        notes=outcome.warnings,
    )


def _note(task: Task, result: TrainResult) -> str:
    """What the MLflow UI shows on top of the run."""
    found = result.evaluation.metrics
    said = ", ".join(
        f"{metric.title} {found[metric.name]}"
        for metric in map(task.metrics.__getitem__, task.headline[:2])
        if metric.name in found
    )
    lines = [
        f"**{markdown(result.framework)}**: {said} on {result.evaluation.rows:,} test rows",
        f"- best epoch {result.best_epoch} of {result.epochs}; {markdown(result.where)}",
        f"- energy {result.spent}",
    ]
    if result.utilisation is not None:
        lines.append(f"- {markdown(result.utilisation.sentence)}")
    return "\n".join([*lines, *(f"- {markdown(note)}" for note in result.notes)])
