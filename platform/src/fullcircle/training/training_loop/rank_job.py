"""Trains as one rank, from the built model to the best weights; every launcher and every test comes through here."""

from __future__ import annotations

import numpy as np

from fullcircle.core.errors import FullcircleError, TrainingFailed, UsageError
from fullcircle.training import arrays as files
from fullcircle.training.checkpoints.checkpoint_store import Checkpoints, checkpoint_key
from fullcircle.training.jobs import RankJob, RankStats
from fullcircle.training.ports import Framework, ProcessGroup
from fullcircle.training.training_loop.event_log import EventLog
from fullcircle.training.training_loop.loop import LoopSetup, TrainingLoop
from fullcircle.training.training_loop.train_state import TrainState


def require_fit(job: RankJob, size: int) -> None:
    """Refuse what could not be learned from, before any time is spent.

    Raises:
        UsageError: a batch larger than the data, or smaller than the number of processes.
        TargetInvalid: the training or the validation rows hold targets that the task cannot learn from.
    """
    rows, training = len(job.arrays.y_train), job.training
    if training.batch_size > rows:
        raise UsageError(f"training.batch_size must be at most {rows}, the training rows, got {training.batch_size}")
    if training.batch_size < size:
        raise UsageError(
            f"training.batch_size must be at least {size}, a row for each process, got {training.batch_size}"
        )
    job.task.require_learnable({"training": job.arrays.y_train, "validation": job.arrays.y_validation})


def train_rank(
    framework: Framework, rank_job: RankJob, process_group: ProcessGroup, event_log: EventLog
) -> tuple[TrainState, RankStats]:
    """Train as one rank of `process_group`. Collective.

    Returns:
        Where the training stands at its end, the best weights in it, and what this rank used.

    Raises:
        FullcircleError: as `TrainingLoop.run`; TrainingFailed when memory ran out, naming the batch.
    """
    try:
        return _train_rank(framework, rank_job, process_group, event_log)
    except FullcircleError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or framework.out_of_memory(error):
            raise _out_of_memory(rank_job, process_group, error) from error
        raise


def _train_rank(
    framework: Framework, rank_job: RankJob, process_group: ProcessGroup, event_log: EventLog
) -> tuple[TrainState, RankStats]:
    task, targets = rank_job.task, np.asarray(rank_job.arrays.y_train)
    weighting = task.weighting(targets, balanced=rank_job.training.class_weights)
    link = task.link(targets, weighting)
    engine = framework.engine(
        rank_job.model_function,
        rank_job.arrays.shape,
        rank_job.training,
        rank_job.compute,
        process_group,
        task.objective,
    )
    key = checkpoint_key(
        rank_job.project,
        framework.name,
        files.digest(rank_job.arrays),
        engine.architecture,
        rank_job.training,
        rank_job.compute,
        task.objective,
        inverse=link.inverse,
    )
    checkpoints = Checkpoints(
        rank_job.storage, key, staging=rank_job.folder / "checkpoints", keep=rank_job.compute.keep
    )
    setup = LoopSetup(
        arrays=rank_job.arrays,
        training=rank_job.training,
        compute=rank_job.compute,
        task=task,
        weighting=weighting,
        link=link,
        folder=rank_job.folder,
        stop=rank_job.stop,
        profile_steps=rank_job.profile_steps,
        begun=rank_job.begun,
    )
    training_loop = TrainingLoop(framework, engine, process_group, setup, checkpoints, event_log)
    state = training_loop.run()
    gpu_peak_mb = framework.gpu_peak_mb()
    asked = rank_job.compute.device
    device = asked if asked != "auto" else "cuda" if gpu_peak_mb else "cpu"
    return state, training_loop.clock.rank_stats(process_group.rank, device, gpu_peak_mb)


def _out_of_memory(rank_job: RankJob, process_group: ProcessGroup, error: BaseException) -> TrainingFailed:
    batch, parts = rank_job.training.batch_size, rank_job.compute.accumulate
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return TrainingFailed(
        f"out of memory at batch size {batch} ({batch // (process_group.size * parts)} rows at once on each of "
        f"{process_group.size} processes): {reason}",
        hint=f"set compute.accumulate to {parts * 2}, lower training.batch_size, or use more processes",
    )
