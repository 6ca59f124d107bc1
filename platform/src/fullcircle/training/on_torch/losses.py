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
from fullcircle.core.tasks import Objective
from fullcircle.training.on_torch.adapters import has_own_loss, own_loss
from fullcircle.training.on_torch.devices import PRECISIONS


class Loss(nn.Module):
    """Features (rows, *inputs), targets (rows, 1 or labels), shares (rows, 1) to the loss, a tensor of no dimensions.

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


def _binary_cross_entropy(
    outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective
) -> torch.Tensor:
    each = shares if objective.outputs == 1 else shares / objective.outputs  # the mean over a row's labels
    return functional.binary_cross_entropy_with_logits(outputs, targets, weight=each, reduction="sum")


def _cross_entropy(
    outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective
) -> torch.Tensor:
    losses = functional.cross_entropy(outputs, targets[:, 0].long(), reduction="none")
    return (losses * shares[:, 0]).sum()


def _squared(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective) -> torch.Tensor:
    return ((outputs - targets).square() * shares).sum()


def _absolute(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective) -> torch.Tensor:
    return ((outputs - targets).abs() * shares).sum()


def _huber(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective) -> torch.Tensor:
    return (functional.huber_loss(outputs, targets, reduction="none", delta=1.0) * shares).sum()


def _poisson(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective) -> torch.Tensor:
    return ((outputs.exp() - targets * outputs) * shares).sum()


def _quantile(outputs: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor, objective: Objective) -> torch.Tensor:
    # Level by level, as plain numbers: a tensor of them would be copied to the device in each step.
    short = (targets - outputs).unbind(dim=1)
    each = [torch.maximum(q * one, (q - 1.0) * one) for q, one in zip(objective.quantiles, short, strict=True)]
    return (torch.stack(each, dim=1).mean(dim=1) * shares[:, 0]).sum()


LOSSES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Objective], torch.Tensor]] = MappingProxyType(
    {
        "binary_cross_entropy": _binary_cross_entropy,
        "cross_entropy": _cross_entropy,
        "squared": _squared,
        "absolute": _absolute,
        "huber": _huber,
        "poisson": _poisson,
        "quantile": _quantile,
    }
)
"""Loss by name: outputs (rows, outputs), targets (rows, 1 or labels), shares (rows, 1), to the sum of share x loss.
What each is, and its source: `training_loop.validation_losses`."""


class NamedLoss(Loss):
    """The weighted loss that an objective names."""

    def __init__(self, model: nn.Module, compute: Compute, device: torch.device, objective: Objective) -> None:
        super().__init__(model, compute, device)
        self._value, self._objective = LOSSES[objective.loss], objective

    def forward(self, x: torch.Tensor, y: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Sum of share x loss."""
        with self.autocast():
            outputs = self.model(x)
        # Float32, whatever the model computed in: the exponential of a logit is what half precision is worst at.
        return self._value(outputs.float(), y, shares, self._objective)


class ModelOwnLoss(Loss):
    """The mean loss by the model's own `training_step`, times the share of its rows in the batch."""

    fillers = False
    """Whether rows with share 0 may be among the given ones; looked for only then: on a GPU the look costs a wait."""

    def __init__(self, model: nn.Module, compute: Compute, device: torch.device, objective: Objective) -> None:
        super().__init__(model, compute, device)
        self._loss = objective.loss

    def forward(self, x: torch.Tensor, y: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Mean loss of the rows that have a share x the sum of the shares."""
        if self.fillers:
            present = shares[:, 0] != 0
            if present.any():  # else all rows are fillers, and their loss counts 0 times
                x, y = x[present], y[present]
        with self.autocast():
            loss = own_loss(self.model, x, y, self._loss)
        return loss.float() * shares.sum()


def loss_of(model: nn.Module, compute: Compute, device: torch.device, objective: Objective) -> Loss:
    """The loss that this model is trained by: its own where it brings one, else the objective's."""
    kind = ModelOwnLoss if has_own_loss(model) else NamedLoss
    return kind(model, compute, device, objective)
