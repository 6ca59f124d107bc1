"""PyTorch's implementation of the training port (`ports.Framework`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import torch

from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.records.training import EpochMetrics, Fitted
from fullcircle.core.tasks import Link, Objective
from fullcircle.training.on_torch import checkpoint, models
from fullcircle.training.on_torch.devices import check_precision, device_for
from fullcircle.training.on_torch.fitted import TorchFitted
from fullcircle.training.on_torch.process_group import AnyProcessGroup, join_process_group
from fullcircle.training.on_torch.train_engine import TorchEngine, require_known
from fullcircle.training.ports import Framework, ProcessGroup, Tensors, TrainEngine
from fullcircle.training.training_loop.network_trainer import NetworkTrainer


class TorchFramework:
    """Torch on CPU, CUDA, or several of them."""

    name = "torch"

    def check(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> None:
        """Build the model once and look at what it gives for two rows (`ports.Framework`).

        Raises:
            UsageError: what the model function, the device or the precision is, and what it must be.
        """
        require_known(compute)
        check_precision(compute, device_for(compute))
        with models.preserve_rng_state():
            models.check(models.build_model(build, shape, training), shape, training, objective)

    def process_group(self, compute: Compute) -> AbstractContextManager[ProcessGroup]:
        """The processes that the environment names, or this one alone (`ports.Framework`)."""
        return join_process_group(compute)

    def engine(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: ProcessGroup,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> TrainEngine:
        """One rank's model and optimizer (`ports.Framework`)."""
        return TorchEngine(build, shape, training, compute, cast("AnyProcessGroup", process_group), objective)

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
        """The model with these weights, on the CPU (`ports.Framework`)."""
        with models.preserve_rng_state():
            model = models.build_model(build, shape, training)
        checkpoint.fill(model.state_dict(), weights)
        return TorchFitted(model, shape, link, history, best_epoch)

    @contextlib.contextmanager
    def profiler(self, folder: Path) -> Iterator[None]:
        """Record the block with torch's profiler (`ports.Framework`): `<host>_<pid>.<time>.pt.trace.json`, which both
        TensorBoard's profile plugin and Perfetto open."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        folder.mkdir(parents=True, exist_ok=True)
        written = torch.profiler.tensorboard_trace_handler(str(folder))
        with torch.profiler.profile(activities=activities, on_trace_ready=written):
            yield

    def gpu_peak_mb(self) -> float:
        """Most memory that tensors of this process have held on its GPU, in MB (`ports.Framework`)."""
        return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether memory ran out: the GPU allocator's own error, or the CPU allocator's words (`ports.Framework`)."""
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        words = (
            "DefaultCPUAllocator: can't allocate memory",
            "DefaultCPUAllocator: not enough memory",
            "out of memory",
        )
        return isinstance(error, RuntimeError) and any(text in str(error) for text in words)


FRAMEWORK: Framework = TorchFramework()
"""The one value by which the training loop knows torch."""

TRAINER = NetworkTrainer(FRAMEWORK)
"""The entry of `training.trainers`."""
