"""Value types of training: what one job is, and its outcome. All of them can be pickled and sent to a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, ModelFunction, Task, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, Fitted
from fullcircle.training.parameters import for_model

if TYPE_CHECKING:
    from fullcircle.core.project import Project

RESULT, BEST, PREEMPTED, FATAL = "result.json", "best.npz", "preempted.json", "fatal.json"
"""Files of a job's folder, in which its ranks say how it ended; see `training.results`."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One model to train, in words that any process on any machine with the same folders can act on.

    Attributes:
        project: name of the project; `root`: folder that `core.project.loading.load_project` finds it from.
        framework: name of the model in the project, or `baseline`; `family`: which trainer trains it.
        data: digest of the data version that the arrays were made from.
        arrays: folder of memory-mapped arrays (`training.arrays`).
        training: parameters, already those of this framework (`parameters.for_model`).
        run_id: the one MLflow run of this job, however many processes it has.
        folder: the job's own folder: event logs, process files, stack dumps, the result. All processes must see it.
        storage: folder or fsspec URL of the checkpoints.
        profile_steps: steps that the framework's own profiler records, or 0.
        tensorboard: whether scalars are mirrored as TensorBoard event files, into `folder/tensorboard`.
    """

    project: str
    root: Path
    framework: str
    data: str
    arrays: Path
    training: Training
    compute: Compute
    run_id: str
    folder: Path
    storage: str
    profile_steps: int = 0
    tensorboard: bool = False
    family: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.framework)


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """What a rank trains, with the very function and arrays; `TrainJob` says the same in words.

    Attributes:
        task: the kind of problem: targets, loss, link from outputs to answers, metrics.
        build: the project's model function; None for the baseline.
        storage: folder or fsspec URL of the checkpoints. folder: the job's folder, which all ranks see.
        stop: whether the rank was asked to stop.
        begun: when the launch was (`time.time`).
    """

    project: str
    task: Task
    build: ModelFunction | None
    arrays: Arrays
    training: Training
    compute: Compute
    storage: str
    folder: Path
    stop: Callable[[], bool] = lambda: False
    profile_steps: int = 0
    begun: float = field(default_factory=time.time)

    @property
    def model_function(self) -> ModelFunction:
        """The project's model function. Raises UsageError when there is none."""
        if self.build is None:
            raise UsageError(f"project {self.project!r} has no function that builds this model")
        return self.build


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Where the time of one process's steps went, in seconds. `communication` is what the process waited for others."""

    data: float = 0.0
    compute: float = 0.0
    communication: float = 0.0
    checkpoint: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.data + self.compute + self.communication + self.checkpoint

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            data=self.data + other.data,
            compute=self.compute + other.compute,
            communication=self.communication + other.communication,
            checkpoint=self.checkpoint + other.checkpoint,
        )


@dataclass(frozen=True, kw_only=True)
class RankStats:
    """What one process used: its time, its processor time, its memory. Written by it at its end and each epoch.

    Attributes:
        wall_s: seconds from its first step on.
        cpu_s: processor seconds, user and system, of all of its threads.
        peak_mb: most resident memory.
        samples: rows that this process learned from, counted each time.
        communication_measured: False where the framework hides it inside its graph; it is then part of `compute`.
    """

    rank: int
    host: str
    device: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    gpu_peak_mb: float
    samples: int
    steps: int
    seconds: Seconds
    first_step_s: float
    communication_measured: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """A job that was done.

    Attributes:
        where: where it ran, and why there.
        world_size: processes at the end.
        restarts: how often dead or hung processes were replaced.
        rank_stats: one entry a process.
        warnings: sentences for people: a damaged checkpoint, a restart, a fallback.
        weights: SHA-256 of the best epoch's weights: names, order, types, shapes and bytes.
    """

    fitted: Fitted
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    where: str
    world_size: int
    restarts: int = 0
    rank_stats: tuple[RankStats, ...] = ()
    warnings: tuple[str, ...] = ()
    weights: str = ""


def job_of(
    project: Project,
    *,
    framework: str,
    data: str,
    arrays: Path,
    run_id: str,
    folder: Path,
    profile_steps: int = 0,
    tensorboard: bool = False,
) -> TrainJob:
    """The job that trains a project's model in one framework as the project says.

    Raises:
        UsageError: a parameter of training does not fit.
    """
    storage = project.compute.storage
    return TrainJob(
        project=project.folder.name,
        root=project.folder.parent,
        framework=framework,
        data=data,
        arrays=arrays,
        training=for_model(project.training, framework, project.frameworks),
        compute=project.compute,
        run_id=run_id,
        folder=folder,
        storage=f"{storage.rstrip('/')}/{run_id}" if storage else str(folder / "checkpoints"),
        profile_steps=profile_steps,
        tensorboard=tensorboard,
        family=project.all_models[framework].family if framework in project.frameworks else framework,
    )
