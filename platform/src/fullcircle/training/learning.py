"""What one rank does, from the built model to the best weights; every place and every test comes through here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fullcircle.core.errors import FullcircleError, TrainingFailed, UsageError
from fullcircle.core.project import Compute, ModelFunction, Training
from fullcircle.core.records.training import Arrays
from fullcircle.training import arrays as files
from fullcircle.training.checkpoints import Checkpoints, mark_of
from fullcircle.training.course import Course, Setup
from fullcircle.training.jobs import RankUse
from fullcircle.training.journal import Journal
from fullcircle.training.ports import Framework, World
from fullcircle.training.standing import Standing
from fullcircle.training.weighting import require_both_classes, weights


@dataclass(frozen=True, kw_only=True)
class Task:
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


def learn(framework: Framework, task: Task, world: World, journal: Journal) -> tuple[Standing, RankUse]:
    """Train as one rank of `world`. Collective.

    Returns:
        Where the training stands at its end, the best weights in it, and what this rank used.

    Raises:
        FullcircleError: as `Course.run`; TrainingFailed when memory ran out, naming the batch.
    """
    try:
        return _learn(framework, task, world, journal)
    except FullcircleError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or framework.out_of_memory(error):
            raise _out_of_memory(task, world, error) from error
        raise


def _learn(framework: Framework, task: Task, world: World, journal: Journal) -> tuple[Standing, RankUse]:
    class_weights = weights(task.arrays.y_train, balanced=task.training.class_weights)
    learner = framework.learner(task.build, task.arrays.shape, task.training, task.compute, world)
    mark = mark_of(
        task.project,
        framework.name,
        files.digest(task.arrays),
        learner.architecture,
        task.training,
        task.compute,
    )
    checkpoints = Checkpoints(task.storage, mark, staging=task.folder / "checkpoints", keep=task.compute.keep)
    setup = Setup(
        arrays=task.arrays,
        training=task.training,
        compute=task.compute,
        weights=class_weights,
        folder=task.folder,
        stop=task.stop,
        profile_steps=task.profile_steps,
        begun=task.begun,
    )
    course = Course(framework, learner, world, setup, checkpoints, journal)
    standing = course.run()
    gpu_peak_mb = framework.gpu_peak_mb()
    asked = task.compute.device
    device = asked if asked != "auto" else "cuda" if gpu_peak_mb else "cpu"
    return standing, course.clock.use(world.rank, device, gpu_peak_mb)


def _out_of_memory(task: Task, world: World, error: BaseException) -> TrainingFailed:
    batch, parts = task.training.batch_size, task.compute.accumulate
    return TrainingFailed(
        f"out of memory at batch size {batch} ({batch // (world.size * parts)} rows at once on each of {world.size} "
        f"processes): {str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__}",
        hint=f"set compute.accumulate to {parts * 2}, lower training.batch_size, or use more processes",
    )
