"""One model in one framework, trained and evaluated in one MLflow run; nothing is judged or released.

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
from fullcircle.loop.candidates import Prepared, evaluated, parameters, prepare
from fullcircle.loop.clock import now, refuse_ahead
from fullcircle.loop.fingerprints import JOB, recipe
from fullcircle.loop.interrupted import resumable
from fullcircle.loop.launching import Launched, forget, job_folder, launched, tell_unsent
from fullcircle.loop.outages import outlasts
from fullcircle.loop.retrain import checked_rows, split_rows, version_data
from fullcircle.loop.trainable import KIND, require_checkpoint, require_trainable, what_it_was, with_data
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import Split, SplitFrames
    from fullcircle.tracking.runs.run_store import RunWriter
    from fullcircle.training.jobs import TrainJob
    from fullcircle.training.telemetry.energy import EnergyUse
    from fullcircle.training.telemetry.utilisation import Utilisation


@dataclass(frozen=True, kw_only=True)
class Wish:
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


@outlasts
def train(project: Project, workspace: Workspace, wish: Wish) -> TrainResult:
    """Check, version, split, preprocess, train one framework's model, evaluate it on the test rows.

    Raises:
        UsageError: an unknown framework, parameter or place, or a model that does not fit; nothing was trained.
        ContractViolated, LeakageFound: nothing was trained.
        Preempted: told to stop; the line says by which command it is resumed.
        TrainingFailed: the run says why, and nothing of it can be registered.
    """
    project = overridden(project, wish.overrides)
    if wish.where is not None:
        project = dataclasses.replace(project, compute=dataclasses.replace(project.compute, where=wish.where))
    require_trainable(project, wish.framework, wish.tensorboard)
    refuse_ahead(project, workspace, wish.until, "--until")
    until = wish.until or now(project, workspace) - project.labels_after
    data, split, frames = _rows(project, workspace, until)

    tags = {"fullcircle.framework": wish.framework}
    with workspace.run_store.start(project, name=f"{KIND} {wish.framework}", kind=KIND, tags=tags) as run:
        run.data(data, split)
        run.json({**dataclasses.asdict(wish), "until": until, **recipe(project)}, JOB)
        result = _trained(project, workspace.settings, run, dataclasses.replace(wish, until=until), data, frames)
    tell_unsent(run)
    return result


@outlasts
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
    told = what_it_was(run_store, project, state, framework)
    project = recalled(project, told["training"], told["compute"])
    if where is not None:
        project = dataclasses.replace(project, compute=dataclasses.replace(project.compute, where=where))
    wish = Wish(
        framework=told["framework"],
        until=datetime.fromisoformat(told["until"]),
        profile_steps=told["profile_steps"],
        tensorboard=told["tensorboard"],
    )
    require_trainable(project, wish.framework, wish.tensorboard)
    require_checkpoint(project, workspace.settings, state.key)
    version = run_store.data_version(state.run_id)
    with run_store.resume(state.run_id, project=project) as run:
        progress.current().note(f"going on with run {run.id[:12]}")
        assert wish.until is not None, "it was written down"
        there = with_data(project, workspace, version, wish.until, run.key)
        data, _, frames = _rows(there, workspace, wish.until)
        result = _trained(project, workspace.settings, run, wish, data, frames, again=True)
    tell_unsent(run)
    return result


def _trained(
    project: Project,
    settings: Settings,
    run: RunWriter,
    wish: Wish,
    data: DataVersion,
    frames: SplitFrames,
    *,
    again: bool = False,
) -> TrainResult:
    """The part that a new run and a resumed one share, within the run."""
    prepared = prepare(project, frames, job_folder(settings, run.key))
    progress.current().stage(f"train {wish.framework}", f"run {run.id}")
    if not again:
        run.params(parameters(project, wish.framework, prepared))
    with _goes_on(f"fullcircle train {project.folder.name} --resume {run.id}"):
        done = launched(
            project, settings, run, _job(project, settings, wish, data, prepared, run.key), rows=len(frames.train)
        )
    from fullcircle.tracking.ui.ui_links import links

    judged = evaluated(project, wish.framework, (run.id, run.key), done.outcome.fitted, prepared, None)
    run.evaluation(project.target, judged.evaluation, "test")
    result = _result(project, settings, wish, run.id, data, judged.evaluation, done)
    run.note(links(run.experiment_id, data=data.digest) + _note(project.target, result))
    forget(settings, run.key)
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
    project: Project, settings: Settings, wish: Wish, data: DataVersion, prepared: Prepared, run_id: str
) -> TrainJob:
    from fullcircle.training.jobs import job_of

    return job_of(
        project,
        framework=wish.framework,
        data=data.digest,
        arrays=prepared.arrays,
        run_id=run_id,
        folder=job_folder(settings, run_id),
        profile_steps=wish.profile_steps,
        tensorboard=wish.tensorboard,
    )


def _result(
    project: Project,
    settings: Settings,
    wish: Wish,
    run_id: str,
    data: DataVersion,
    evaluation: Evaluation,
    done: Launched,
) -> TrainResult:
    outcome = done.outcome
    return TrainResult(
        project=project.name,
        framework=wish.framework,
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
