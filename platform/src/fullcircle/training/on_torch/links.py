"""The last step from a torch model's outputs to answers, by the name of a task's link; part of the exported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from fullcircle.core.tasks import Link


def _sigmoid(outputs: torch.Tensor, link: Link) -> torch.Tensor:
    # Written as a difference: the graph of a binary model has had this operation since its first version.
    return torch.sigmoid(outputs - -link.offset[0])


LINKS: Mapping[str, Callable[[torch.Tensor, Link], torch.Tensor]] = MappingProxyType({"sigmoid": _sigmoid})
"""Link by name: raw outputs (rows, outputs) to answers."""
