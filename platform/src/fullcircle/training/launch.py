"""`launch(job)` runs one training job with the launcher that was asked for, and reads the outcome from its files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import TrainingFailed, UsageError
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import home_unwritable
from fullcircle.training import arrays as files
from fullcircle.training import rank_main
from fullcircle.training.frameworks import BASELINE, framework
from fullcircle.training.jobs import BEST, FATAL, PREEMPTED, RESULT, RankStats, Seconds, TrainJob, TrainOutcome
from fullcircle.training.launchers import inline, local, ray_train
from fullcircle.training.launchers.resolve import resolve_launcher
from fullcircle.training.launchers.signals import exclusive_launch
from fullcircle.training.on_sklearn.baseline import BaselineTrainer
from fullcircle.training.ports import Tensors
from fullcircle.training.training_loop.event_log import Listener, NullListener, follow
from fullcircle.training.training_loop.rank_job import require_fit
from fullcircle.training.training_loop.train_state import best_epoch
from fullcircle.training.weighting import weights

if TYPE_CHECKING:
    from fullcircle.core.records.training import Arrays
    from fullcircle.training.launchers.resolve import LauncherChoice


def launch(job: TrainJob, *, where: str | None = None, listener: Listener | None = None) -> TrainOutcome:
    """Train a job and return the fitted model. Launched again on the same folder, it goes on where it stopped.

    Args:
        where: instead of `job.compute.where`.
        listener: hears of epochs, steps and notes while it runs.

    Raises:
        UsageError: nonsense is asked for, or the model does not fit; before any time is spent on training.
        Preempted: told to stop; a checkpoint is written.
        TrainingFailed: a number was not finite, memory ran out, or processes died more often than `max_restarts`.
        HomeUnwritable: a checkpoint cannot be written; the one before is intact.
    """
    listener = listener or NullListener()
    arrays = files.load(job.arrays)
    if job.framework == BASELINE:
        return _baseline(job, arrays, listener)

    choice = resolve_launcher(where or job.compute.where, job.compute, batch_size=job.training.batch_size)
    job = choice.applied(job)
    _check(job, arrays, choice.size)
    recorder = RecordingListener(listener)
    with exclusive_launch(job.folder, recorder.note):
        _remove_leftovers(job)
        restarts = _run(job, choice, recorder)
    rank_main.raise_reported_error(job.folder)
    return _outcome(job, choice, restarts, arrays, tuple(recorder.notes))


def weights_digest(tensors: Tensors) -> str:
    """SHA-256 of weights: names, order, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name, values in tensors.items():
        sha.update(f"{name}{values.dtype}{values.shape}".encode())
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


def _run(job: TrainJob, choice: LauncherChoice, listener: Listener) -> int:
    """Run the job in its place; returns how often processes were replaced."""
    if choice.launcher == "inline":
        return inline.run(job, listener)
    with follow(job.folder / "rank-0.events", listener):
        if choice.launcher == "local":
            return local.run(job, choice.size, note=listener.note)

        return ray_train.run(job, choice.address, choice.size, note=listener.note)


def _check(job: TrainJob, arrays: Arrays, size: int) -> None:
    project = load_project(job.project, job.root)
    build = rank_main.model_function(project, job.framework)
    require_fit(arrays, job.training, size)
    if job.compute.accumulate < 1:
        raise UsageError(f"compute.accumulate must be at least 1, got {job.compute.accumulate}")
    framework(job.framework).check(build, arrays.shape, job.training, job.compute)


def _remove_leftovers(job: TrainJob) -> None:
    """Take away what an earlier launch left, but the event logs and the checkpoints."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        for name in (RESULT, BEST, PREEMPTED, FATAL):
            (job.folder / name).unlink(missing_ok=True)
        for path in (*job.folder.glob("rank-*.use.json"), *job.folder.glob("nonfinite-rank-*.json")):
            path.unlink()
        shutil.rmtree(job.folder / "profile", ignore_errors=True)
        (job.folder / rank_main.LAUNCHED).touch()
    except OSError as error:
        raise home_unwritable(job.folder, error) from error


def _outcome(
    job: TrainJob, choice: LauncherChoice, restarts: int, arrays: Arrays, notes: tuple[str, ...]
) -> TrainOutcome:
    if not (job.folder / RESULT).exists():
        raise TrainingFailed(
            f"{job.framework}: the processes ended without a result", hint=f"what they wrote is in {job.folder}"
        )
    best, history, size = rank_main.read_result(job.folder)
    project = load_project(job.project, job.root)
    fitted = framework(job.framework).fitted(
        rank_main.model_function(project, job.framework),
        arrays.shape,
        job.training,
        weights=best,
        shift=weights(arrays.y_train, balanced=job.training.class_weights).shift,
        history=history,
        best_epoch=best_epoch(history),
    )
    return TrainOutcome(
        fitted=fitted,
        history=history,
        best_epoch=best_epoch(history),
        where=f"{choice}",
        world_size=size,
        restarts=restarts,
        rank_stats=tuple(_read_rank_stats(job)),
        warnings=notes,
        weights=weights_digest(best),
    )


def _read_rank_stats(job: TrainJob) -> Iterator[RankStats]:
    paths = job.folder.glob("rank-*.use.json")
    for value in sorted((json.loads(path.read_text()) for path in paths), key=lambda value: int(value["rank"])):
        yield RankStats(**{**value, "seconds": Seconds(**value["seconds"])})


def _baseline(job: TrainJob, arrays: Arrays, listener: Listener) -> TrainOutcome:
    fitted = BaselineTrainer().fit(
        None, arrays, job.training, checkpoints=job.folder / "checkpoints", on_epoch=listener.epoch
    )
    return TrainOutcome(
        fitted=fitted,
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        where="inline: the baseline is solved in one process",
        world_size=1,
        weights=weights_digest({"coefficients": fitted.coefficients}),
    )


@dataclass
class RecordingListener:
    """A Listener that passes everything on and records the notes: they are the outcome's warnings."""

    listener: Listener

    def __post_init__(self) -> None:
        self.notes: list[str] = []

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was done."""
        self.listener.epoch(metrics)

    def steps(self, first: int, losses: object, norms: object, rate: float) -> None:
        """Steps were done."""
        self.listener.steps(first, losses, norms, rate)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        """A sentence for people."""
        self.notes.append(text)
        self.listener.note(text)
