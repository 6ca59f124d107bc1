"""One model in one framework, trained and evaluated in one MLflow run; nothing is judged or released.

For whoever works on a model. A run that was stopped is gone on with under its id: the same data version, the same
parameters, the newest checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fullcircle.core.dataset import DataVersion
from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.models import Evaluation
from fullcircle.core.overrides import overridden, recalled
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.loop.candidates import Prepared, evaluated, parameters, prepare
from fullcircle.loop.fingerprints import JOB, recipe
from fullcircle.loop.interrupted import resumable
from fullcircle.loop.launching import Launched, forget, job_folder, launched, tell_unsent
from fullcircle.loop.retrain import checked_rows, split_rows, version_data

if TYPE_CHECKING:
    from fullcircle.core.dataset import Split, SplitFrames
    from fullcircle.tracking.runs import Run, RunState, Tracker
    from fullcircle.training.jobs import TrainJob
    from fullcircle.training.telling.energy import Spent
    from fullcircle.training.telling.utilisation import Utilisation

KIND = "train"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a model is to be trained.

    Attributes:
        until: learn from rows before this; None: from all whose labels are known by now.
        where: instead of the project's `compute.where`.
        overrides: `training.learning_rate=0.01` and so on, see `core.overrides`.
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
    spent: Spent
    cost: float | None
    currency: str
    notes: tuple[str, ...]


def train(project: Project, settings: Settings, wish: Wish) -> TrainResult:
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
    _require(project, wish.framework, wish.tensorboard)
    until = wish.until or datetime.now(UTC) - project.labels_after
    data, split, frames = _rows(project, settings, until)
    from fullcircle.tracking.runs import Tracker

    tags = {"fullcircle.framework": wish.framework}
    with Tracker(settings).start(project, name=f"{KIND} {wish.framework}", kind=KIND, tags=tags) as run:
        run.data(data, split)
        run.json({**dataclasses.asdict(wish), "until": until, **recipe(project)}, JOB)
        result = _trained(project, settings, run, dataclasses.replace(wish, until=until), data, frames)
    tell_unsent(run)
    return result


def resume(
    project: Project, settings: Settings, reference: str, *, framework: str | None = None, where: str | None = None
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
    from fullcircle.tracking.runs import Tracker

    tracker = Tracker(settings)
    tracker.catch_up()  # what it told last may not have been sent
    state = tracker.state(reference)
    kept = _kept(tracker, project, state, framework)
    project = recalled(project, kept["training"], kept["compute"])
    if where is not None:
        project = dataclasses.replace(project, compute=dataclasses.replace(project.compute, where=where))
    wish = Wish(
        framework=kept["framework"],
        until=datetime.fromisoformat(kept["until"]),
        profile_steps=kept["profile_steps"],
        tensorboard=kept["tensorboard"],
    )
    _require(project, wish.framework, wish.tensorboard)
    _require_checkpoint(project, settings, state.key)
    version = tracker.data_version(state.run_id)
    with tracker.resume(state.run_id) as run:
        progress.current().note(f"going on with run {run.id[:12]}")
        assert wish.until is not None, "it was written down"
        there = _with_data(project, settings, version, wish.until, run.key)
        data, _, frames = _rows(there, settings, wish.until)
        result = _trained(project, settings, run, wish, data, frames, again=True)
    tell_unsent(run)
    return result


def _trained(
    project: Project,
    settings: Settings,
    run: Run,
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
    from fullcircle.tracking.pages import links

    judged = evaluated(project, wish.framework, run.id, done.outcome.fitted, prepared, None)
    run.evaluation(judged.evaluation, "test")
    result = _result(project, settings, wish, run.id, data, judged.evaluation, done)
    run.note(links(run.experiment_id, data=data.digest) + _note(result))
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


def _rows(project: Project, settings: Settings, until: datetime) -> tuple[DataVersion, Split, SplitFrames]:
    rows = checked_rows(project, settings, until)
    data = version_data(project, settings, until)
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


def _require(project: Project, framework: str, tensorboard: bool) -> None:
    """Refuse before anything is read or written what could not be trained."""
    from fullcircle.training.frameworks import BASELINE
    from fullcircle.training.parameters import FRAMEWORKS, for_framework

    has = (BASELINE, *project.frameworks)
    if framework not in FRAMEWORKS:
        raise UsageError(f"no framework {framework!r}", hint=f"project {project.name!r} has {', '.join(has)}")
    if framework not in has:
        raise UsageError(
            f"project {project.name!r} has no function that builds a model in {framework}",
            hint=f"it has {', '.join(has)}; project.py names others as {framework}=build_{framework}",
        )
    parameters_of = for_framework(project.training, framework)
    if framework != BASELINE:
        from fullcircle.training.places.choice import choose

        choose(project.compute.where, project.compute, batch_size=parameters_of.batch_size)
    if tensorboard:
        from fullcircle.training.telling.tensorboard import require_tensorboard

        require_tensorboard()


def _kept(tracker: Tracker, project: Project, state: RunState, framework: str | None) -> dict[str, Any]:
    """What was written down when the run began. Raises UsageError unless it may be resumed as this."""
    name, of = f"run {state.run_id}", state.tags.get("fullcircle.project", "?")
    if of != project.name:
        raise UsageError(f"{name} is of project {of!r}, not of {project.name!r}", hint=f"name that one: {of}")
    if state.tags.get("fullcircle.kind") in ("tune", "trial"):
        raise UsageError(f"{name} is part of a study", hint=f"'fullcircle tune {project.name}' goes on with it")
    if state.tags.get("fullcircle.kind") != KIND:
        raise UsageError(
            f"{name} is part of a retrain (a {state.tags.get('fullcircle.kind', '?')})",
            hint=f"the next 'fullcircle run {project.name}' goes on with it",
        )
    trained = state.tags.get("fullcircle.framework", "?")
    if framework is not None and framework != trained:
        raise UsageError(f"{name} is of framework {trained!r}, not {framework!r}", hint="leave --framework out")
    if state.finished:
        raise UsageError(f"{name} is finished; there is nothing to resume", hint="train again for another run")
    try:
        found: dict[str, Any] = json.loads(tracker.download(state.run_id, JOB).read_text())
    except DataUnavailable as error:
        raise UsageError(f"{name} was stopped before it could be resumed", hint="train again") from error
    return found


def _require_checkpoint(project: Project, settings: Settings, run_id: str) -> None:
    import fsspec

    from fullcircle.training.checkpoints import LATEST

    stored = project.compute.storage
    place = f"{stored.rstrip('/')}/{run_id}" if stored else str(settings.home / "jobs" / run_id / "checkpoints")
    files, root = fsspec.core.url_to_fs(place)
    if not files.exists(f"{root}/{LATEST}"):
        raise UsageError(f"run {run_id} has no checkpoint in {place}", hint="train again: nothing of it is left")


def _with_data(project: Project, settings: Settings, version: DataVersion, until: datetime, run_id: str) -> Project:
    """The project with the partitions of just this data version: its own, or restored ones where these have changed."""
    from fullcircle.data.partitions import partitions
    from fullcircle.data.versions import Versions

    with contextlib.suppress(DataUnavailable):
        if Versions(settings).commit(project, partitions(project, until)).digest == version.digest:
            return project
    folder = job_folder(settings, run_id) / "data"
    shutil.rmtree(folder, ignore_errors=True)
    Versions(settings).restore(version, folder)
    progress.current().stage("restore the data", f"{version.digest[:12]}: the partitions here have changed")
    return dataclasses.replace(project, data=str(folder.resolve()))


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


def _note(result: TrainResult) -> str:
    """What the MLflow UI shows on top of the run."""
    auc, loss = result.evaluation.metrics["roc_auc"], result.evaluation.metrics["log_loss"]
    lines = [
        f"**{result.framework}**: ROC AUC {auc}, log loss {loss} on {result.evaluation.rows:,} test rows",
        f"- best epoch {result.best_epoch} of {result.epochs}; {result.where}",
        f"- energy {result.spent}",
    ]
    if result.utilisation is not None:
        lines.append(f"- {result.utilisation.sentence}")
    return "\n".join([*lines, *(f"- {note}" for note in result.notes)])
