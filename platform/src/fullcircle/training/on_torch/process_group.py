"""torch process groups of one job: for gradients, for the training loop's sums, and for checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from fullcircle.core.project import Compute
from fullcircle.training.on_torch.devices import device_for

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(eq=False)
class SingleProcessGroup:
    """A process group of one process: no process group, no collective, so that a breakpoint in the model works."""

    device: torch.device
    rank: int = 0
    size: int = 1
    control: None = None
    checkpoints: None = None

    def sum_over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values themselves (`ports.ProcessGroup`)."""
        return values.copy()


@dataclass(eq=False)
class TorchProcessGroup:
    """Several processes (`ports.ProcessGroup`).

    Attributes:
        device: where this rank computes; gradients travel by the default group's backend for it (gloo or NCCL).
        control: gloo group of the training loop's small sums: it needs no GPU and never waits for one.
        checkpoints: gloo group of its own for `dcp.async_save`, whose thread would hang on a group in use.
    """

    device: torch.device
    rank: int
    size: int
    control: Any
    checkpoints: Any

    def sum_over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over all ranks in the order of the ranks, so that it has the same bits on each."""
        mine = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64).reshape(-1))
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine, group=self.control)
        summed = parts[0].clone()
        for part in parts[1:]:
            summed += part
        return summed.numpy().reshape(np.shape(values))

    def maximum(self, value: int) -> int:
        """The greatest of all ranks' values. Collective."""
        greatest = torch.tensor(value)
        dist.all_reduce(greatest, op=dist.ReduceOp.MAX, group=self.control)
        return int(greatest)

    def broadcast_from_rank0(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite these tensors, in place, by those of rank 0. Collective."""
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


AnyProcessGroup = SingleProcessGroup | TorchProcessGroup


@contextlib.contextmanager
def join_process_group(compute: Compute) -> Iterator[AnyProcessGroup]:
    """Join the processes that RANK, WORLD_SIZE and the rendezvous address in the environment name, or be alone.

    A process group that is there already (Ray makes it) is used and left as it was.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = device_for(compute)
    with reproducible(compute.threads):
        if size == 1:
            yield SingleProcessGroup(device)
            return
        ours = not dist.is_initialized()
        if ours:
            # Twice the watchdog's patience: a hung rank is the launcher's to notice, with its stack dumps.
            patience = timedelta(seconds=max(120.0, 2 * compute.stall_s))
            # None: what the device's own package has registered with torch, and gloo.
            backend = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}.get(device.type)
            dist.init_process_group(backend, timeout=patience)
        try:
            control, checkpoints = dist.new_group(backend="gloo"), dist.new_group(backend="gloo")
            yield TorchProcessGroup(device, dist.get_rank(), dist.get_world_size(), control, checkpoints)
        finally:
            if ours:
                dist.destroy_process_group()


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """The same sums in the same order on every machine, and the process's own settings again afterwards.

    One thread unless the project says more: with more, the last bits depend on the number of cores, and at small
    batches threads that wait for each other beside other work were five times slower.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    threads_before = torch.get_num_threads()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time at each step
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
