"""Data parallelism: a single process, a copy of the model on each rank (DDP), or a shard on each (FSDP2).

Every rank's loss is its share of the whole batch's mean, so gradients are added up over the ranks, never averaged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from fullcircle.training.on_torch.losses import Loss
from fullcircle.training.on_torch.process_group import TorchProcessGroup


class Parallelism(Protocol):
    """One way of sharing a model among ranks."""

    loss: nn.Module
    """What a training step calls (`losses.Loss`)."""
    measured: bool
    """Whether `waited_s` says anything."""

    def no_sync(self) -> AbstractContextManager[None]:
        """Within the block, gradients add up on this rank alone: all parts of a batch but its last."""
        ...

    def backward_done(self) -> None:
        """Hear that a backward pass with communication has returned."""
        ...

    def waited_s(self) -> float:
        """Seconds since the last call in which this rank waited for the others' gradients."""
        ...

    def norm(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Euclidean norm of the whole gradient, a tensor of no dimensions, the same on each rank."""
        ...


class SingleProcess:
    """The model of a rank that is alone."""

    measured = True

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def no_sync(self) -> AbstractContextManager[None]:
        """Nothing to keep apart (`Parallelism`)."""
        return contextlib.nullcontext()

    def backward_done(self) -> None:
        """Nothing was sent (`Parallelism`)."""

    def waited_s(self) -> float:
        """Nobody to wait for (`Parallelism`)."""
        return 0.0

    def norm(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Norm of the norms (`Parallelism`)."""
        return _norm(gradients)


class DDP:
    """A copy of the model on each rank; gradients are added up while backward still runs (DDP).

    With two ranks every sum has the same bits however DDP lays out its buckets; with more, the last bits may depend on
    that layout, which a resumed run chooses anew.
    """

    measured = True

    def __init__(self, loss: nn.Module, device: torch.device, *, unused: bool) -> None:
        ids = [device.index] if device.type == "cuda" else None
        wrapped = nn.parallel.DistributedDataParallel(
            loss, device_ids=ids, gradient_as_bucket_view=True, find_unused_parameters=unused
        )
        # A lambda: DDP compares the hook's annotations with classes, and ours are text.
        wrapped.register_comm_hook(None, lambda _, bucket: self._add_up(bucket))
        self.loss: nn.Module = wrapped
        self._ddp = wrapped
        self._device = device
        self._ready: Any = None
        self._waited_s = 0.0
        self._spans: list[tuple[Any, Any]] = []

    def no_sync(self) -> AbstractContextManager[None]:
        """DDP's `no_sync` (`Parallelism`)."""
        return self._ddp.no_sync()

    def _add_up(self, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        if bucket.is_last():  # backward has computed all that it can: what comes now is waiting
            self._ready = self._now()
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        future: torch.futures.Future[Any] = work.get_future()
        return future.then(lambda done: done.value()[0])

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def backward_done(self) -> None:
        """Take the time since the last bucket was ready (`Parallelism`)."""
        if self._ready is None:
            return
        if self._device.type == "cuda":
            self._spans.append((self._ready, self._now()))  # read at the chunk's end: no step waits for the device
        else:
            self._waited_s += time.perf_counter() - self._ready
        self._ready = None

    def waited_s(self) -> float:
        """From "the last bucket is ready" to "all are added up" (`Parallelism`)."""
        if self._spans:
            torch.cuda.synchronize(self._device)
            self._waited_s += sum(ready.elapsed_time(done) for ready, done in self._spans) / 1000
            self._spans.clear()
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s

    def norm(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Norm of the norms: every rank has the whole gradient (`Parallelism`)."""
        return _norm(gradients)


class FSDP:
    """A shard of every tensor on each rank, gathered block by block when it is needed (FSDP2)."""

    measured = False  # gathering and adding up happen inside the blocks' own hooks

    def __init__(self, loss: Loss, process_group: TorchProcessGroup, *, compiled: bool) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(process_group.device.type, (process_group.size,))
        # Images stay channels last; FSDP takes only weights that lie in memory as their shape says.
        model: nn.Module = loss.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for block in (*_blocks(model), model):
            fully_shard(block, mesh=mesh)
        if hasattr(model, "training_step"):  # a LightningModule's, which is called beside forward
            register_fsdp_forward_method(model, "training_step")
        self.loss: nn.Module = torch.compile(loss) if compiled else loss  # type: ignore[assignment]
        self._fsdp: Any = model
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """No reduce-scatter within the block (`Parallelism`)."""
        self._fsdp.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._fsdp.set_requires_gradient_sync(True)

    def backward_done(self) -> None:
        """Not measured (`Parallelism`)."""

    def waited_s(self) -> float:
        """Not measured (`Parallelism`)."""
        return 0.0

    def norm(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Norm of all ranks' shards together (`Parallelism`)."""
        norm: Any = nn.utils.get_total_norm(gradients)
        full_tensor: torch.Tensor = norm.full_tensor()
        return full_tensor


def _norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    # One call for all parameters: get_total_norm's own grouping in Python costs more than the arithmetic.
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The parts that are gathered one at a time: the children, and the members of lists of children."""
    for child in model.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # they have no forward to gather in
            yield from _blocks(child)
        elif next(child.parameters(), None) is not None:
            yield child


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that may be sharded. Collective if it is."""
    full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full
