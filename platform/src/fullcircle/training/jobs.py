"""Value types of training: what one job is, and its outcome. All of them can be pickled and sent to a process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Compute, Training
from fullcircle.core.records.training import EpochMetrics, Fitted
from fullcircle.training.parameters import for_framework

if TYPE_CHECKING:
    from fullcircle.core.project import Project

RESULT, BEST, PREEMPTED, FATAL = "result.json", "best.npz", "preempted.json", "fatal.json"
"""Files of a job's folder, in which its ranks say how it ended; see `training.rank_main`."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One model to train, in words that any process on any machine with the same folders can act on.

    Attributes:
        project: name of the project; `root`: folder that `core.project.loading.load_project` finds it from.
        framework: `baseline`, `torch` or `keras`.
        data: digest of the data version that the arrays were made from.
        arrays: folder of memory-mapped arrays (`training.arrays`).
        training: parameters, already those of this framework (`parameters.for_framework`).
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
        training=for_framework(project.training, framework),
        compute=project.compute,
        run_id=run_id,
        folder=folder,
        storage=f"{storage.rstrip('/')}/{run_id}" if storage else str(folder / "checkpoints"),
        profile_steps=profile_steps,
        tensorboard=tensorboard,
    )
