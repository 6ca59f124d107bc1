"""`launch(job)` runs one training job with the launcher that was asked for, and reads the outcome from its files."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.settings import home_unwritable
from fullcircle.training import rank_main
from fullcircle.training.jobs import BEST, FATAL, PREEMPTED, RESULT, RankJob, TrainJob, TrainOutcome
from fullcircle.training.launchers import inline, local, ray_train
from fullcircle.training.launchers.resolve import LauncherChoice, one_process, resolve_launcher
from fullcircle.training.launchers.signals import exclusive_launch
from fullcircle.training.ports import Tensors
from fullcircle.training.results import raise_reported_error, read_result, read_stats
from fullcircle.training.trainers import FAMILIES, trainer
from fullcircle.training.training_loop.event_log import Listener, NullListener, follow


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
    alone = FAMILIES[job.family].one_process if job.family in FAMILIES else ""
    choice = (
        one_process(alone)
        if alone
        else resolve_launcher(where or job.compute.where, job.compute, batch_size=job.training.batch_size)
    )
    job = choice.applied(job)
    own = rank_main.rank_job(job)
    trainer(job.family).check(own, choice.size)
    recorder = RecordingListener(listener or NullListener())
    with exclusive_launch(job.folder, recorder.note):
        _remove_leftovers(job)
        restarts = _run(job, choice, recorder)
    raise_reported_error(job.folder)
    return _outcome(job, own, choice, restarts, tuple(recorder.notes))


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
    job: TrainJob, own: RankJob, choice: LauncherChoice, restarts: int, notes: tuple[str, ...]
) -> TrainOutcome:
    if not (job.folder / RESULT).exists():
        raise TrainingFailed(
            f"{job.framework}: the processes ended without a result", hint=f"what they wrote is in {job.folder}"
        )
    result = read_result(job.folder)
    return TrainOutcome(
        fitted=trainer(job.family).fitted(own, result),
        history=result.history,
        best_epoch=result.best_epoch,
        where=f"{choice}",
        world_size=result.size,
        restarts=restarts,
        rank_stats=tuple(read_stats(job.folder)),
        warnings=notes,
        weights=weights_digest(result.weights),
    )


class RecordingListener:
    """A Listener that records the notes: they are the outcome's warnings. All else is told the other one itself."""

    def __init__(self, listener: Listener) -> None:
        self.notes: list[str] = []
        self.epoch, self.steps, self._note = listener.epoch, listener.steps, listener.note

    def note(self, text: str) -> None:
        """A sentence for people."""
        self.notes.append(text)
        self._note(text)
