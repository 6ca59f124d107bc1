"""One rank's part of a torch model in training: model, optimizer and random state (`ports.TrainEngine`)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.on_torch import adapters, checkpoint, models, nonfinite
from fullcircle.training.on_torch.fitted import chunk_rows
from fullcircle.training.on_torch.losses import Loss, ModelOwnLoss, loss_of
from fullcircle.training.on_torch.parallelism import DDP, FSDP, Parallelism, SingleProcess, full_tensor
from fullcircle.training.on_torch.process_group import AnyProcessGroup, TorchProcessGroup
from fullcircle.training.ports import Chunk, Diagnosis, Pending, StepResults, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TorchEngine:
    """A model, its optimizer and this rank's random state."""

    framework = "torch"

    def __init__(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: AnyProcessGroup,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> None:
        self._shape, self._training, self._compute, self._process_group = shape, training, compute, process_group
        self._build, self._device, self._objective = build, process_group.device, objective
        model = models.build_model(build, shape, training)
        self.architecture = models.architecture(model)
        self._model: nn.Module = model.to(self._device)
        self._own = loss_of(self._model, compute, process_group.device, objective)
        self._parallelism = _parallelize(self._own, shape, compute, process_group, objective)
        self._sharded = isinstance(self._parallelism, FSDP)
        self._loss = self._parallelism.loss
        self.communication_measured = self._parallelism.measured
        optimization = adapters.optimization(self._model, training)
        self._optimizer, self._schedule = optimization.optimizer, optimization.schedule
        self._parameters = [values for group in self._optimizer.param_groups for values in group["params"]]
        scaled = compute.precision == "float16"
        self._scaler = torch.amp.GradScaler(self._device.type) if scaled else None
        self._step = 0
        models.seed(training.seed, process_group.rank, 0)

    def steps(self, chunk: Chunk) -> StepResults:
        """One optimizer step for each step of the chunk (`ports.TrainEngine`).

        Losses and norms stay on the device until the chunk's end: no step waits for the device.
        """
        self._model.train()
        if isinstance(self._own, ModelOwnLoss):
            self._own.fillers = not chunk.w.all()
        x, y, w = self._on_device(chunk)
        losses, norms = [], []
        for features, targets, shares in zip(x.unbind(), y.unbind(), w.unbind(), strict=True):
            losses.append(self._gradients(features, targets, shares))
            norms.append(self._update())
            if self._schedule is not None:
                self._schedule.step()
        self._step = chunk.first + chunk.steps - 1
        return StepResults(losses=_numbers(losses), norms=_numbers(norms), communication_s=self._parallelism.waited_s())

    def _on_device(self, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # One division for the whole chunk makes every step's loss a plain weighted sum.
        shares = chunk.w / chunk.counts.astype(np.float32)[:, None]
        targets = chunk.y if chunk.y.ndim == 3 else chunk.y[..., None]
        arrays = (chunk.x, targets, shares[..., None])
        tensors = [torch.from_numpy(np.require(values, np.float32, "W")) for values in arrays]
        if self._device.type == "cuda":
            tensors = [values.pin_memory().to(self._device, non_blocking=True) for values in tensors]
        elif self._device.type != "cpu":
            tensors = [values.to(self._device) for values in tensors]
        x, y, w = tensors
        return models.to_model(x, self._shape), y, w

    def _gradients(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Compute the batch's gradients, in parts where that is asked for; this rank's loss."""
        self._optimizer.zero_grad(set_to_none=True)
        parts = min(self._compute.accumulate, len(x))
        if parts == 1:
            loss = self._backward(x, y, w)
        else:
            *first, last = zip(*(torch.tensor_split(values, parts) for values in (x, y, w)), strict=True)
            with self._parallelism.no_sync():
                losses = [self._backward(*part) for part in first]
            loss = torch.stack([*losses, self._backward(*last)]).sum()
        self._parallelism.backward_done()
        return loss

    def _backward(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self._loss(x, y, w)
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _update(self) -> torch.Tensor:
        """Clip and step; norm of the gradient before it was clipped."""
        gradients = [values.grad for values in self._parameters if values.grad is not None]
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        norm = self._parallelism.norm(gradients)
        limit = self._training.clip_norm
        if limit is not None:  # as torch.nn.utils.clip_grad_norm_ does, without taking the norm twice
            torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
        if self._scaler is None:
            self._optimizer.step()
            return norm
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # The scaler leaves out a step that overflowed and halves its factor: that is no bad number yet. Once
        # the factor is below 1 it was not the factor.
        factor: Any = self._scaler._scale
        skipped = ~torch.isfinite(norm) & (factor >= 1.0)
        return torch.where(skipped, torch.zeros_like(norm), norm)

    def outputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the last layer gives for each row, without dropout (`ports.TrainEngine`)."""
        self._sync_buffers()
        self._model.eval()
        step = chunk_rows(self._shape)
        chunks = -(-len(features) // step)
        process_group, sharded = self._process_group, self._sharded
        passes = process_group.maximum(chunks) if sharded and isinstance(process_group, TorchProcessGroup) else chunks
        answer = np.empty((len(features), self._objective.outputs), dtype=np.float32)
        with torch.inference_mode(not sharded), torch.no_grad(), self._own.autocast():
            for start in range(0, passes * step, step):
                rows = np.ascontiguousarray(features[start : start + step], dtype=np.float32)
                if not len(rows):  # another rank has more rows, and each pass gathers weights from all
                    rows = np.zeros((1, *self._shape), dtype=np.float32)
                x = models.to_model(torch.from_numpy(rows).to(self._device), self._shape)
                outputs = self._model(x).float().cpu().numpy()
                answer[start : start + step] = outputs[: len(answer[start : start + step])]
        return answer

    def _sync_buffers(self) -> None:
        """Take over rank 0's buffers (running means), as the next forward pass of DDP would."""
        if isinstance(self._process_group, TorchProcessGroup):
            self._process_group.broadcast_from_rank0(list(self._model.buffers()))

    def weights(self) -> Tensors:
        """Copies of the state that the model answers with (`ports.TrainEngine`)."""
        self._sync_buffers()
        return {name: models.array(full_tensor(values)) for name, values in self._model.state_dict().items()}

    def take(self, weights: Tensors) -> None:
        """Answer with these weights from now on (`ports.TrainEngine`)."""
        checkpoint.fill(self._model.state_dict(), weights)

    def save(self, folder: Path) -> Pending:
        """Begin to write this rank's part (`ports.TrainEngine`)."""
        self._sync_buffers()
        others = {name: part.state_dict() for name, part in self._others().items()}
        return checkpoint.begin(
            folder, self._model, self._optimizer, self._process_group, {"step": self._step, **others}
        )

    def _others(self) -> dict[str, Any]:
        """What has a state beside the model and the optimizer."""
        parts = {"gradient scaler": self._scaler, "schedule": self._schedule}
        return {name: part for name, part in parts.items() if part is not None}

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint (`ports.TrainEngine`)."""
        content = checkpoint.restore(folder, self._model, self._optimizer, self._process_group)
        self._step = int(content["step"])
        for name, part in self._others().items():
            if name not in content:
                raise ValueError(f"the checkpoint has no state of the {name}")
            part.load_state_dict(content[name])
        if not checkpoint.restore_random(folder, self._process_group.rank):
            models.seed(self._training.seed, self._process_group.rank, self._step)

    def diagnose(self, chunk: Chunk) -> Diagnosis | None:
        """Where this rank's part of one step first goes bad (`ports.TrainEngine`)."""
        x, y, w = self._on_device(chunk)
        model = self._model
        if self._sharded:  # ranks look at different rows for different times: none may wait for another
            whole_weights = self.weights()
            with models.preserve_rng_state():
                model = models.build_model(self._build, self._shape, self._training).to(self._device)
            checkpoint.fill(model.state_dict(), whole_weights)
        return nonfinite.diagnose(model, loss_of(model, self._compute, self._device, self._objective), x[0], y[0], w[0])


def _numbers(values: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = torch.stack(list(values)).double().numpy(force=True)
    return numbers


def _parallelize(
    loss: Loss, shape: Shape, compute: Compute, process_group: AnyProcessGroup, objective: Objective
) -> Parallelism:
    if isinstance(process_group, TorchProcessGroup) and compute.strategy == "fsdp":
        return FSDP(loss, process_group, compiled=compute.compile)
    compiled: nn.Module = torch.compile(loss) if compute.compile else loss  # type: ignore[assignment]
    if not isinstance(process_group, TorchProcessGroup):
        return SingleProcess(compiled)
    return DDP(compiled, process_group.device, unused=_has_unused(loss, shape, process_group.device, objective))


def _has_unused(loss: Loss, shape: Shape, device: torch.device, objective: Objective) -> bool:
    """Whether some parameter has no part in the loss: DDP would wait for its gradient for ever."""
    with models.preserve_rng_state():
        probe = copy.deepcopy(loss).train()
        targets, shares = torch.zeros(2, objective.targets, device=device), torch.full((2, 1), 0.5, device=device)
        probe(models.to_model(torch.zeros(2, *shape, device=device), shape), targets, shares).backward()
    return any(values.grad is None for values in probe.parameters() if values.requires_grad)


def require_known(compute: Compute) -> None:
    """Refuse a way of computing that torch does not have.

    Raises:
        UsageError: which field, what it must be, what it is.
    """
    if compute.strategy not in ("ddp", "fsdp"):
        raise UsageError(f"compute.strategy must be 'ddp' or 'fsdp', got {compute.strategy!r}")
    if compute.accumulate < 1:
        raise UsageError(f"compute.accumulate must be at least 1, got {compute.accumulate!r}")
