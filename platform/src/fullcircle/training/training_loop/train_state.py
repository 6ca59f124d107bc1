"""The state of a training loop, stored in each checkpoint beside the engine's: step, position, history, weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fullcircle.core.records.training import EpochMetrics
from fullcircle.training.ports import Tensors


@dataclass
class TrainState:
    """Where a training stands. All of it is in each checkpoint.

    Attributes:
        step: steps done, over all epochs. position: steps done in the epoch `len(history) + 1`.
        loss: sum over the epoch's rows of weight x loss so far.
        seconds: what the epoch has taken so far. total_s: what the whole training has.
        best: weights after the best epoch; empty before there is one.
    """

    step: int = 0
    position: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    total_s: float = 0.0
    history: list[EpochMetrics] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)

    def meta(self) -> dict[str, Any]:
        """All but the weights, as plain values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("history", "best")}
        return values | {"history": [dataclasses.asdict(epoch) for epoch in self.history]}

    @classmethod
    def from_meta(cls, meta: dict[str, Any], best: Tensors) -> TrainState:
        """What `meta` wrote."""
        plain = {f.name: meta[f.name] for f in dataclasses.fields(cls) if f.name not in ("history", "best")}
        return cls(**plain, history=[EpochMetrics.of(epoch) for epoch in meta["history"]], best=best)


def best_epoch(history: Sequence[EpochMetrics]) -> int:
    """Number of the epoch with the least validation loss, the earliest of equals."""
    return min(history, key=lambda epoch: (epoch.validation_loss, epoch.epoch)).epoch
