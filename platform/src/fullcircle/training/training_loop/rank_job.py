"""Trains as one rank, from the built model to the best weights; every launcher and every test comes through here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fullcircle.core.errors import FullcircleError, TrainingFailed, UsageError
from fullcircle.core.project import Compute, ModelFunction, Training
from fullcircle.core.records.training import Arrays
from fullcircle.training import arrays as files
from fullcircle.training.checkpoints.checkpoint_store import Checkpoints, checkpoint_key
from fullcircle.training.jobs import RankStats
from fullcircle.training.ports import Framework, ProcessGroup
from fullcircle.training.training_loop.event_log import EventLog
from fullcircle.training.training_loop.loop import LoopSetup, TrainingLoop
from fullcircle.training.training_loop.train_state import TrainState
from fullcircle.training.weighting import require_both_classes, weights


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What a rank learns, with the very function and arrays; `TrainJob` says the same in words.

    Attributes:
        storage: folder or fsspec URL of the checkpoints. folder: the job's folder, which all ranks see.
        begun: when the launch was (`time.time`).
    """

    project: str
    build: ModelFunction
    arrays: Arrays
    training: Training
    compute: Compute
    storage: str
    folder: Path
    stop: Callable[[], bool] = lambda: False
    profile_steps: int = 0
    begun: float = field(default_factory=time.time)


def require_fit(arrays: Arrays, training: Training, size: int) -> None:
    """Refuse what could not be learned from, before any time is spent.

    Raises:
        UsageError: a batch larger than the data, or smaller than the number of processes.
        TrainingFailed: the training or the validation rows are of one class.
    """
    rows = len(arrays.y_train)
    if training.batch_size > rows:
        raise UsageError(f"training.batch_size must be at most {rows}, the training rows, got {training.batch_size}")
    if training.batch_size < size:
        raise UsageError(
            f"training.batch_size must be at least {size}, a row for each process, got {training.batch_size}"
        )
    require_both_classes(arrays)


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
    class_weights = weights(rank_job.arrays.y_train, balanced=rank_job.training.class_weights)
    engine = framework.engine(rank_job.build, rank_job.arrays.shape, rank_job.training, rank_job.compute, process_group)
    key = checkpoint_key(
        rank_job.project,
        framework.name,
        files.digest(rank_job.arrays),
        engine.architecture,
        rank_job.training,
        rank_job.compute,
    )
    checkpoints = Checkpoints(
        rank_job.storage, key, staging=rank_job.folder / "checkpoints", keep=rank_job.compute.keep
    )
    setup = LoopSetup(
        arrays=rank_job.arrays,
        training=rank_job.training,
        compute=rank_job.compute,
        weights=class_weights,
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
