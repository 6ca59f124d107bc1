"""Gates, error budget, power, latency and size budgets: what a challenger must show before it takes over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Annotated, Any

from fullcircle.core.field_ranges import Count, Float32, Positive, Score, Share, Span, Within, check_fields
from fullcircle.core.tasks.base import Task
from fullcircle.core.tasks.metric import Metric


@dataclass(frozen=True)
class AtLeast:
    """The challenger's metric itself must reach `threshold` (be at most it, where smaller is better)."""

    metric: str
    threshold: Float32

    def __post_init__(self) -> None:
        check_fields(self, "AtLeast")


@dataclass(frozen=True)
class NotWorse:
    """Non-inferiority to the champion on the same rows: worse by `margin` at most, at the interval's bad end."""

    metric: str
    margin: Score

    def __post_init__(self) -> None:
        check_fields(self, "NotWorse")


@dataclass(frozen=True)
class Better:
    """Superiority to the champion on the same rows: better by more than `min_absolute_change`, credibly.

    Credibly is what the project's `ErrorBudget` says. A project that names no such gate gets one by the primary metric
    of its kind of problem; one that names several asks for all of them.
    """

    metric: str
    min_absolute_change: Score = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "Better")


@dataclass(frozen=True)
class SliceGate:
    """In no group of `column` may `metric` fall more than `drop` below the champion's, at the interval's good end.

    `column` may be the target of a task with several classes: the groups are then the rows of each actual class. A
    project that names no such gate gets its task's own.
    """

    column: str
    metric: str
    drop: Score

    def __post_init__(self) -> None:
        check_fields(self, "SliceGate")


@dataclass(frozen=True)
class AgreementGate:
    """On the last window's logged rows at most `share` of the answers may differ by more than `margin`.

    Of the challenger's answers and the champion's; how far apart two are, is the task's `distance`. Without such a gate
    they are compared all the same, and shown, but nothing is stopped by it: a better model has to answer otherwise
    somewhere.
    """

    share: Share = 0.25
    margin: Annotated[float, Within(0.0, 1.0, above=True, below=True)] = 0.1

    def __post_init__(self) -> None:
        check_fields(self, "AgreementGate")


Gate = AtLeast | NotWorse | Better | SliceGate | AgreementGate


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """How sure the gate must be that a challenger is better than the champion.

    Attributes:
        alpha: most chance, over all analyses within `window` together, that a challenger takes over which is no better.
        n_analyses: retrains within `window` among which `alpha` is shared out in equal parts. Each that meets a
            champion is an (interim) analysis. When all are taken, nobody takes over until the oldest is out of the
            window.
        window: over which `alpha` holds, in the time of the data.
        power: chance of deciding with the rows that an inconclusive verdict asks for.
        cluster: rows within one such span of time (of UTC, counted from 1970) err alike, and are one piece of evidence:
            the hours of a day. Intervals and tests, of the gate and of a watched window, are then as wide as so many
            spans ask for. None: each row is one of its own.
    """

    alpha: Annotated[float, Within(0.0, 0.5, above=True, below=True)] = 0.05
    n_analyses: Count = 52
    window: Span = timedelta(days=365)
    power: Annotated[float, Within(0.5, 1.0, below=True)] = 0.8
    cluster: Span | None = None

    def __post_init__(self) -> None:
        check_fields(self, "evidence")


# Project files of earlier versions say these names; new ones say `SliceGate`, `AgreementGate` and `ErrorBudget`.
Slice, Agrees = SliceGate, AgreementGate


def Evidence(*, looks: int = 52, **others: Any) -> ErrorBudget:  # noqa: N802
    """An `ErrorBudget`, in the spelling of project files of earlier versions, which call `n_analyses` `looks`."""
    return ErrorBudget(n_analyses=looks, **others)


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What the exported graph may cost.

    Attributes:
        p99_ms: 99th percentile of answering one raw row over HTTP in the server, one caller at a time.
        size_mb: size of the file.
        parity: largest difference between the graph's and the native model's answers: of probabilities the difference
            itself, of numbers with a unit in standard deviations of the answers.
    """

    p99_ms: Positive = 10.0
    size_mb: Positive = 20.0
    parity: Annotated[float, Within(0.0, 1.0, above=True)] = 1e-4

    def __post_init__(self) -> None:
        check_fields(self, "budgets")


def default_gates(task: Task) -> tuple[Gate, ...]:
    """The gates of a project that names none: what suits its kind of problem."""
    return (
        *(AtLeast(metric, least) for metric, least in task.floors.items()),
        *(NotWorse(metric, margin) for metric, margin in task.margins.items()),
    )


def check_gate(gate: Gate, task: Task, refuse: Callable[[str, str, object], None]) -> None:
    """Call `refuse(field, what it must, what it got)` for what does not fit."""
    if isinstance(gate, AgreementGate):
        return
    known, where = task.metrics, ""
    if isinstance(gate, SliceGate) and gate.column in task.columns:
        known, where = task.metrics_in(gate.column), f" in each {gate.column}"
    if gate.metric not in known:
        refuse("gates", f"name one of the metrics {', '.join(known)}{where}", gate.metric)
    _check_reachable(gate, known[gate.metric], refuse)


def _check_reachable(
    gate: AtLeast | NotWorse | Better | SliceGate, metric: Metric, refuse: Callable[[str, str, object], None]
) -> None:
    """Refuse a gate that no candidate can pass, or none can fail, since the metric cannot be so: a slip of the pen."""
    least, most = metric.bounds
    if isinstance(gate, AtLeast):
        if not (-inf if least is None else least) <= gate.threshold <= (inf if most is None else most):
            refuse(f"gates: AtLeast({gate.metric!r})", f"have a threshold {_between(least, most)}", gate.threshold)
        return
    if least is None or most is None:
        return
    field, widest = _DIFFERENCES[type(gate)], most - least
    amount = getattr(gate, field)
    # Nothing is better by more than all that there is, but anything may be asked not to be worse by all of it.
    if amount > widest or (isinstance(gate, Better) and amount == widest):
        most_said = f"below {widest:g}" if isinstance(gate, Better) else f"of at most {widest:g}"
        what = f"have a {field} {most_said}, since the {metric.title} lies {_between(least, most)}"
        refuse(f"gates: {type(gate).__name__}({gate.metric!r})", what, amount)


_DIFFERENCES = {NotWorse: "margin", Better: "min_absolute_change", SliceGate: "drop"}


def _between(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return f"of at most {most:g}" if least is None else f"of at least {least:g}"
    return f"from {least:g} to {most:g}"
