"""What a framework implements so that one training loop serves all: a process group, an engine, a fitted model.

A *rank* is one process of a job, counted from 0; the *process group* is all of them. A *chunk* is a few steps in a row:
the loop hands them over at once, so that a framework may run them without coming back to Python in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.records.training import EpochMetrics, Fitted
from fullcircle.core.tasks import Link, Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.training.jobs import RankJob
    from fullcircle.training.results import FitResult
    from fullcircle.training.training_loop.event_log import Listener

Tensors = Mapping[str, "NDArray[Any]"]
"""Named arrays: the weights of a model as they are written to a file that any process can read."""


@dataclass(frozen=True)
class Chunk:
    """This rank's rows of a few steps in a row; every step has the same number of rows.

    Attributes:
        first: number of the first step, from 1 over the whole training.
        x: float32 (steps, rows, *shape).
        y: what the loss compares with (`Task.training_targets`), float32 (steps, rows), or (steps, rows, labels).
        w: float32 (steps, rows): the row's weight, 0 for a row that only fills up a rank's share.
        counts: int64 (steps,): rows of the whole batch, over all ranks, fillers left out.
    """

    first: int
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    w: NDArray[np.float32]
    counts: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """How many steps."""
        return len(self.counts)


@dataclass(frozen=True)
class StepResults:
    """What a chunk came to on this rank.

    Attributes:
        losses: float64 (steps,): sum over THIS rank's rows of weight x loss, divided by the step's `count`. Added up
            over the ranks it is the batch's mean loss.
        norms: float64 (steps,): norm of the whole gradient, the same on every rank, before it was clipped.
        communication_s: seconds in which this rank waited for the others' gradients.
    """

    losses: NDArray[np.float64]
    norms: NDArray[np.float64]
    communication_s: float = 0.0


@dataclass(frozen=True)
class Diagnosis:
    """Where a number first went bad: the layer (or parameter) by its name, in which pass, and which of the rows."""

    layer: str
    where: str
    """`forward`, `backward`, `loss` or `update`."""
    rows: tuple[int, ...]
    """Positions within the chunk's only step of the rows at fault; empty when no single row is."""


class Pending(Protocol):
    """A checkpoint that is being written while training goes on."""

    def done(self) -> bool:
        """Whether this rank's part is on disk. Raises what went wrong (OSError: disk full)."""
        ...

    def wait(self) -> None:
        """Block until it is. Raises what went wrong."""
        ...


class ProcessGroup(Protocol):
    """The processes of one job. Every method but `rank` and `size` is collective: all ranks call it, in one order."""

    rank: int
    size: int

    def sum_over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks, element by element, the same bits on each. Shape: any, equal on all ranks."""
        ...


class TrainEngine(Protocol):
    """One rank's part of one model, while it learns. With the same chunks and state: the same bits on CPU."""

    framework: str
    architecture: str
    """Text that changes when the model's layers do, the same in every process."""
    communication_measured: bool
    """Whether `StepResults.communication_s` says anything."""

    def steps(self, chunk: Chunk) -> StepResults:
        """One optimizer step for each step of the chunk: gradient of sum(w x loss) / count over all ranks,
        in `compute.accumulate` parts, clipped to `training.clip_norm`."""
        ...

    def outputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the last layer gives for each row, float32 (rows, outputs), as in production: no dropout. Collective
        where weights are sharded."""
        ...

    def weights(self) -> Tensors:
        """Copies of what the model answers with, whole. Collective where weights are sharded."""
        ...

    def take(self, weights: Tensors) -> None:
        """Answer with these weights from now on. Raises ValueError or KeyError when they do not fit."""
        ...

    def save(self, folder: Path) -> Pending:
        """Begin to write this rank's part (weights, optimizer, random state of this rank) into an empty folder that
        all ranks share. What is written is the state of now, however training goes on."""
        ...

    def load(self, folder: Path) -> None:
        """Go on from such a folder, written by a process group of whatever size. Raises ValueError or KeyError."""
        ...

    def diagnose(self, chunk: Chunk) -> Diagnosis | None:
        """Do the chunk's ONE step with the framework's anomaly detection on; None when all stayed finite."""
        ...


class Framework(Protocol):
    """One framework: how it opens a process group, makes an engine, and hands over the fitted model."""

    name: str

    def check(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> None:
        """Build the model once and look at what it gives for two rows.

        Raises:
            UsageError: the model function fails, or returns something else than a model of as many numbers a row as
                the objective asks for; the device or precision asked for is not to be had here.
        """
        ...

    def process_group(self, compute: Compute) -> AbstractContextManager[ProcessGroup]:
        """Join the processes that the launcher's environment names (RANK, WORLD_SIZE, ...), or be alone."""
        ...

    def engine(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: ProcessGroup,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> TrainEngine:
        """The model, built from `training.seed`, with the same first weights on every rank; it minimises the
        objective, whose loss is an entry of the framework's LOSSES."""
        ...

    def fitted(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        *,
        weights: Tensors,
        link: Link,
        history: tuple[EpochMetrics, ...],
        best_epoch: int,
    ) -> Fitted:
        """The model with these weights, ready to answer and to be exported; `link` turns its outputs into answers."""
        ...

    def profiler(self, folder: Path) -> AbstractContextManager[None]:
        """Record what happens within the block as a trace that TensorBoard and Perfetto open, into `folder`."""
        ...

    def gpu_peak_mb(self) -> float:
        """Most memory that this process has held on its GPU, in MB; 0 when it learned elsewhere."""
        ...

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether this error of the framework means that memory (of the device or the machine) ran out."""
        ...


class Trainer(Protocol):
    """One family of models, as production trains it: `launch` checks a job and brings its model back, every rank fits.

    What every implementation guarantees (tests/contract/training/test_trainer_contract.py):

    - The same seed and arrays give the same model on a CPU, to the last bit.
    - What could not be trained is refused by `check` in one line, before anything is written.
    - `fit` leaves its result in the job's folder (`results.write_result`): the weights of the epoch with the least
      validation loss, the earliest of equals, and the metrics of every epoch.
    - `fit` on the folder of one that was stopped or killed comes to the very same model; what is done is not done a
      second time. The listener receives each epoch once, in order, those from before included.
    - A number that is not finite, or memory that runs out, is a TrainingFailed that names where.
    - `fitted` answers and exports alike: its graph agrees with it within 1e-6 of the answers' scale.
    """

    name: str

    def check(self, job: RankJob, size: int) -> None:
        """Refuse what could not be trained by so many processes.

        Raises:
            UsageError: what is wrong and what it must be: the model function, a parameter, the device, the targets.
        """
        ...

    def fit(self, job: RankJob, listener: Listener | None = None) -> None:
        """Train as the rank that the environment names (RANK, WORLD_SIZE), or alone. Collective.

        Args:
            listener: hears at once what rank 0 does.

        Raises:
            Preempted: `job.stop` or SIGTERM asked for it; a checkpoint is written.
            TrainingFailed, HomeUnwritable: the checkpoint before is intact.
        """
        ...

    def fitted(self, job: RankJob, result: FitResult) -> Fitted:
        """The model with a result's weights, ready to answer and to be exported."""
        ...
