"""The training losses of torch models: those that a task names, and the loss that a model brings itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fullcircle.core.project import Compute
from fullcircle.training.on_torch.adapters import has_own_loss, own_loss
from fullcircle.training.on_torch.devices import PRECISIONS


class Loss(nn.Module):
    """Features (rows, *inputs), targets (rows, 1) and shares (rows, 1) to the loss, a tensor of no dimensions.

    A row's share is its weight / number of rows of the whole batch: added up over ranks and parts of a batch, the
    losses are the batch's mean.
    """

    def __init__(self, model: nn.Module, compute: Compute, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._device, self._precision = device.type, compute.precision

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision in which the model computes."""
        if self._precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device, dtype=PRECISIONS[self._precision])


def _binary_cross_entropy(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, targets, weight=shares, reduction="sum")


LOSSES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"binary_cross_entropy": _binary_cross_entropy}
)
"""Loss by name: outputs, targets and shares, float32 (rows, 1), to the sum of share x loss."""


class NamedLoss(Loss):
    """The weighted loss of that name in LOSSES."""

    def __init__(self, model: nn.Module, compute: Compute, device: torch.device, name: str) -> None:
        super().__init__(model, compute, device)
        self._value = LOSSES[name]

    def forward(self, x: torch.Tensor, y: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Sum of share x loss."""
        with self.autocast():
            outputs = self.model(x)
        # Float32, whatever the model computed in: the exponential of a logit is what half precision is worst at.
        return self._value(outputs.float(), y, shares)


class ModelOwnLoss(Loss):
    """The mean loss by the model's own `training_step`, times the share of its rows in the batch."""

    fillers = False
    """Whether rows with share 0 may be among the given ones; looked for only then: on a GPU the look costs a wait."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Mean loss of the rows that have a share x the sum of the shares."""
        if self.fillers:
            present = shares[:, 0] != 0
            if present.any():  # else all rows are fillers, and their loss counts 0 times
                x, y = x[present], y[present]
        with self.autocast():
            loss = own_loss(self.model, x, y)
        return loss.float() * shares.sum()


def loss_of(model: nn.Module, compute: Compute, device: torch.device, name: str) -> Loss:
    """The loss that this model is trained by: its own where it brings one, else the one of that name."""
    return ModelOwnLoss(model, compute, device) if has_own_loss(model) else NamedLoss(model, compute, device, name)
