"""What a challenger must show before it takes over: gates, the evidence asked of it, and what its graph may cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

METRICS = ("roc_auc", "log_loss", "brier", "calibration_error")
"""Metrics that gates may name. Only `roc_auc` is better when greater."""


@dataclass(frozen=True)
class AtLeast:
    """The challenger's metric itself must reach `threshold` (be at most it, where smaller is better)."""

    metric: str
    threshold: float


@dataclass(frozen=True)
class NotWorse:
    """Non-inferiority to the champion on the same rows: worse by `margin` at most, at the interval's bad end."""

    metric: str
    margin: float


@dataclass(frozen=True)
class Better:
    """Superiority to the champion on the same rows: better by more than `min_absolute_change`, credibly.

    Credibly is what the project's `Evidence` says. A project that names no such gate gets `Better("roc_auc")`; one
    that names several asks for all of them.
    """

    metric: str
    min_absolute_change: float = 0.0


@dataclass(frozen=True)
class Slice:
    """In no group of `column` may `metric` fall more than `drop` below the champion's, at the interval's good end."""

    column: str
    metric: str
    drop: float


@dataclass(frozen=True)
class Agrees:
    """On the last window's logged rows at most `share` of the answers may differ by more than `margin`.

    The two sides are the challenger's and the champion's probabilities. Without such a gate they are compared all the
    same, and shown, but nothing is stopped by it: a better model has to answer otherwise somewhere.
    """

    share: float = 0.25
    margin: float = 0.1


Gate = AtLeast | NotWorse | Better | Slice | Agrees


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How sure the gate must be that a challenger is better than the champion.

    Attributes:
        alpha: most chance, over all looks within `window` together, that a challenger takes over which is no better.
        looks: retrains within `window` among which `alpha` is shared out in equal parts. Each that meets a champion is
            a look. When all are taken, nobody takes over until the oldest is out of the window.
        window: over which `alpha` holds, in the time of the data.
        power: chance of deciding with the rows that an inconclusive verdict asks for.
    """

    alpha: float = 0.05
    looks: int = 52
    window: timedelta = timedelta(days=365)
    power: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What the exported graph may cost.

    Attributes:
        p99_ms: 99th percentile of answering one raw row over HTTP in the server, one caller at a time.
        size_mb: size of the file.
        parity: largest absolute difference between the graph's and the native model's probability.
    """

    p99_ms: float = 10.0
    size_mb: float = 20.0
    parity: float = 1e-4


def check_gate(gate: Gate, refuse: Callable[[str, str, object], None]) -> None:
    """Call `refuse(field, what it must, what it got)` for what does not fit."""
    if isinstance(gate, Agrees):
        if not (0.0 <= gate.share <= 1.0 and 0.0 < gate.margin < 1.0):
            refuse("an Agrees gate", "have a share from 0 to 1 and a margin between 0 and 1", gate)
        return
    if gate.metric not in METRICS:
        refuse("gates", f"name one of the metrics {', '.join(METRICS)}", gate.metric)
    if isinstance(gate, Better) and not 0.0 <= gate.min_absolute_change < math.inf:
        refuse("min_absolute_change of a Better gate", "be 0 or a positive number", gate.min_absolute_change)


def check_evidence(evidence: Evidence, refuse: Callable[[str, str, object], None]) -> None:
    """Call `refuse(field, what it must, what it got)` for what does not fit."""
    if not 0.0 < evidence.alpha < 0.5:
        refuse("evidence.alpha", "be between 0 and 0.5", evidence.alpha)
    if type(evidence.looks) is not int or evidence.looks < 1:
        refuse("evidence.looks", "be a positive integer", evidence.looks)
    if evidence.window <= timedelta(0):
        refuse("evidence.window", "be longer than nothing", evidence.window)
    if not 0.5 <= evidence.power < 1.0:
        refuse("evidence.power", "be at least 0.5 and below 1", evidence.power)
