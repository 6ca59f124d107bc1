"""Runs one training job for one MLflow run, follows its events, and logs its metrics and artifacts.

Whatever its number of processes, and however often it was stopped and gone on with, a training has one run. Its
processes write files; this process alone tells the run, whose spool is taken to MLflow beside the training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.loop.training_runs.run_fingerprint import save_fingerprint
from fullcircle.training.telemetry import rank_metrics
from fullcircle.training.telemetry.energy import energy_before, metered
from fullcircle.training.telemetry.tensorboard import TensorBoardWriter
from fullcircle.training.telemetry.utilisation import picture, utilisation
from fullcircle.training.training_loop.event_log import read_events
from fullcircle.training.training_loop.sampler import steps_of

if TYPE_CHECKING:
    from fullcircle.core.project import Project
    from fullcircle.tracking.runs.run_store import RunWriter
    from fullcircle.training.jobs import RankStats, TrainJob, TrainOutcome
    from fullcircle.training.telemetry.energy import EnergyUse
    from fullcircle.training.telemetry.utilisation import Utilisation

PICTURE, USE = "training/utilisation.png", "training/use.json"
"""Artifacts of a run: the page that says where its time went; and where it ran, the figures, its energy and cost."""
TENSORBOARD, PROFILE, STACKS = "tensorboard", "profile", "stacks"
"""Folders of a job that become artifacts of its run under the same name: event files, traces, stacks of hung ranks."""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """A training that came to its end, and what it told of itself; `utilisation` is None when it did no step."""

    outcome: TrainOutcome
    utilisation: Utilisation | None
    spent: EnergyUse


def job_folder(settings: Settings, run_id: str) -> Path:
    """Where the processes of a run's training leave their journals and checkpoints."""
    return settings.folder("jobs", run_id)


def delete_workdir(settings: Settings, run_id: str) -> None:
    """Remove the folder of a job that is done: what is worth keeping is with its run."""
    shutil.rmtree(settings.home / "jobs" / run_id, ignore_errors=True)


def warn_unsent(run: RunWriter) -> None:
    """Note what of a run that ended waits for the tracker."""
    if run.backlog is not None:
        progress.current().note(f"{run.backlog}; it is safe in {run.backlog.folder}, and 'fullcircle sync' sends it")


def run_job(
    project: Project, settings: Settings, run: RunWriter, job: TrainJob, *, rows: int, where: str | None = None
) -> JobResult:
    """Train a job and keep with its run what it told: metrics as they come, the profile, traces, energy and cost.

    Args:
        rows: training rows, for the bar.
        where: instead of what the job says.

    Raises:
        Preempted, TrainingFailed, UsageError, HomeUnwritable: as `training.launch.launch`; the stacks of hung
            processes are kept with the run.
    """
    from fullcircle.training.launch import launch

    before = energy_before(job.folder)
    try:
        with metered(job.folder, settings.watts) as meter, _logging(run, job, rows) as listener:
            outcome = launch(job, where=where, listener=listener)
        spent = before + meter.read(outcome.rank_stats)
    finally:
        _save_folders(run, job.folder)
    told = _utilisation(outcome.rank_stats)
    _save(run, settings, job, outcome, told, spent)
    save_fingerprint(run, job, outcome)
    return JobResult(outcome=outcome, utilisation=told, spent=spent)


def load_finished_job(job: TrainJob) -> TrainOutcome:
    """The outcome of a training that came to its end before: it finds itself done in its newest checkpoint."""
    from fullcircle.training.launch import launch

    return launch(dataclasses.replace(job, profile_steps=0, tensorboard=False))


class TrainingLogger:
    """A training's Listener: its run, the terminal and TensorBoard hear of it, each point once over all launches."""

    def __init__(self, run: RunWriter, job: TrainJob, mirror: TensorBoardWriter | None, steps_per_epoch: int) -> None:
        self._run, self._job, self._mirror = run, job, mirror
        self._steps_per_epoch = steps_per_epoch
        self._view = progress.current()  # another thread may tell, and context variables stay behind in this one
        self._shown = 0
        self.steps = functools.partial(run.step_points.add, heard=self._moved)
        """Steps were done: the run hears of them itself."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was done, or was found done in a checkpoint."""
        new = not self._run.knows("train_loss", metrics.epoch)
        self._run.epoch(metrics)
        if new and self._mirror is not None:
            self._mirror.scalars(metrics.logged, metrics.epoch)
        if metrics.epoch > self._shown:  # not again when a rank was replaced
            self._shown = metrics.epoch
            self._view.epoch(self._job.framework, metrics, self._job.training.epochs)

    def rank(self, rank: int, values: Mapping[str, float], at_s: float) -> None:
        """What a process takes of its machine; the step is the seconds since the run began."""
        self._run.points({f"rank/{rank}/{name}": value for name, value in values.items()}, self._run.age_s(at_s))

    def log_last_step(self, journal: Path) -> None:
        """Hear of the newest step in a journal that an earlier launch left: it may have been killed between the
        checkpoint behind that step, which is not done again, and the moment in which the run had it."""
        newest = None
        for entry in read_events(journal):
            newest = entry if entry["kind"] == "steps" else newest
        if newest is not None:
            self.steps(newest["first"], newest["losses"], newest["norms"], newest["rate"])

    def note(self, text: str) -> None:
        """A sentence for people."""
        self._view.note(text)

    def close(self) -> None:
        """The newest step becomes a point, and the event file is closed."""
        self._point(self._run.step_points.last())
        if self._mirror is not None:
            self._mirror.close()

    def _moved(self, number: int, rate: float, point: tuple[int, Mapping[str, float]] | None) -> None:
        self._point(point)
        self._view.moved(self._job.framework, number / self._steps_per_epoch, self._job.training.epochs, rate)

    def _point(self, point: tuple[int, Mapping[str, float]] | None) -> None:
        if point is not None and self._mirror is not None:
            self._mirror.scalars(point[1], point[0])


@contextlib.contextmanager
def _logging(run: RunWriter, job: TrainJob, rows: int) -> Iterator[TrainingLogger]:
    mirror = TensorBoardWriter(job.folder / TENSORBOARD) if job.tensorboard else None
    told = TrainingLogger(run, job, mirror, max(1, steps_of(rows, job.training.batch_size)))
    told.log_last_step(job.folder / "rank-0.events")
    try:
        with rank_metrics.follow(job.folder, told.rank):
            yield told
    finally:
        told.close()


def _utilisation(use: Sequence[RankStats]) -> Utilisation | None:
    return utilisation(use)


def _save(
    run: RunWriter, settings: Settings, job: TrainJob, outcome: TrainOutcome, told: Utilisation | None, spent: EnergyUse
) -> None:
    metrics = {
        "best_epoch": float(outcome.best_epoch),
        "restarts": float(outcome.restarts),
        "energy_kwh": spent.kwh,
    }
    use = {
        "where": outcome.where,
        "world_size": outcome.world_size,
        "utilisation": told.sentence if told is not None else "",
        "figures": told,
        "processes": outcome.rank_stats,
        "spent": spent,
        "notes": outcome.warnings,
    }
    if (cost := spent.cost(settings.prices)) is not None:
        metrics["cost"] = cost
        use["currency"] = settings.prices.currency
    if told is not None:
        metrics |= _figures(told)
        _draw(run, job, outcome, told)
    run.metrics(metrics)
    if outcome.warnings:
        run.tags({"fullcircle.warnings": " | ".join(outcome.warnings)})
    run.json(use, USE)


def _figures(told: Utilisation) -> dict[str, float]:
    return {
        **{f"time_{name}": share for name, share in told.shares.items()},
        "parallel_efficiency": told.parallel_efficiency,
        "mean_samples_per_second": told.samples_per_second,
        "first_step_seconds": told.first_step_s,
        "peak_memory_mb": told.peak_mb,
    }


def _draw(run: RunWriter, job: TrainJob, outcome: TrainOutcome, told: Utilisation) -> None:
    title = f"{job.project}, {job.framework}, {outcome.where}"
    with TemporaryDirectory() as folder:
        path = picture(told, outcome.rank_stats, Path(folder) / Path(PICTURE).name, title)
        run.file(path, str(Path(PICTURE).parent))


def _save_folders(run: RunWriter, folder: Path) -> None:
    """Also of a training that failed: the stacks say why. What cannot be kept is no reason to lose the training."""
    for name in (TENSORBOARD, PROFILE, STACKS):
        if any((folder / name).rglob("*")):
            with contextlib.suppress(Exception):
                run.folder(folder / name, name)
