"""The last step from a torch model's outputs to answers, by the name of a task's link; part of the exported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from fullcircle.core.tasks import Link
from fullcircle.core.tasks.objective import MOST_EXPONENT


def _sigmoid(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    # Written as a difference: the graph of a binary model has had this operation since its first version.
    return torch.sigmoid(outputs - -_constant(link.offset))


def _sigmoid_decision(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    probability = _sigmoid(outputs, link)
    return torch.cat([probability, torch.ge(probability, link.threshold or 0.0).to(probability.dtype)], dim=1)


def _softmax(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    return torch.softmax(outputs + _constant(link.offset), dim=1)


def _identity(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    return INVERSES[link.inverse](outputs * link.scale + _constant(link.offset))


def _exp(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    return torch.exp(torch.clamp(outputs + _constant(link.offset), max=MOST_EXPONENT))


def _sorted_quantiles(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    # By minima and maxima: every runtime knows them, while sorting is an operator of its own.
    a, b, c = torch.split(_identity(outputs, link), 1, dim=1)
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle = torch.maximum(low, torch.minimum(high, c))
    return torch.cat([middle, torch.minimum(low, c), torch.maximum(high, c)], dim=1)


def _constant(values: tuple[float, ...]) -> float | torch.Tensor:
    return values[0] if len(values) == 1 else torch.tensor(values, dtype=torch.float32)


INVERSES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"": lambda values: values, "expm1": lambda values: torch.exp(torch.clamp(values, max=MOST_EXPONENT)) - 1.0}
)
"""Inverse of a target's transform by name; in operations that every runtime knows."""

LINKS: Mapping[str, Callable[[torch.Tensor, Link], torch.Tensor]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "sigmoid_decision": _sigmoid_decision,
        "softmax": _softmax,
        "identity": _identity,
        "exp": _exp,
        "sorted_quantiles": _sorted_quantiles,
    }
)
"""Link by name: raw outputs (rows, outputs) to answers (rows, numbers)."""
