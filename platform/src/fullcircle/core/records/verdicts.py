"""Values of judging a model: scores of slices, evaluations, gate results, verdicts and candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fullcircle.core.statistics.latency import Latency

from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """One group's metric: `column` == `group`, on `rows` rows.

    Attributes:
        metric: by name: the primary one; of a slice by the actual class, one that is defined on a single class.
        difference: minus the champion's on the same rows, when there is a champion.
        judged: whether it has rows enough for a gate; without them there is no difference either.
    """

    column: str
    group: str
    rows: int
    metric: str
    score: Interval
    difference: Interval | None
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one model does on one set of rows.

    Attributes:
        summary: what the targets look like, as their task says: class counts, or mean and spread.
        metrics: name of a metric of the task -> estimate with interval; without those that are not defined here.
        curves: picture, as the task names it -> what it draws, see `fullcircle.evaluation.curves`. `reliability`:
            (mean predicted probability, observed share, rows) of each bin of equal count.
    """

    framework: str
    rows: int
    summary: Mapping[str, float]
    metrics: Mapping[str, Interval]
    slices: tuple[SliceScore, ...]
    curves: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)

    def by_column(self, column: str) -> tuple[SliceScore, ...]:
        """The slices by this column."""
        return tuple(each for each in self.slices if each.column == column)


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate's word, with the numbers that it rests on.

    Attributes:
        missed_by: by how much it was missed, in the gate's own unit; None where it passed or no number says it.
        rows_needed: where it doubts: about how many labelled rows would decide; None: no number of rows would.
    """

    gate: str
    passed: bool
    detail: str
    missed_by: float | None = None
    rows_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the challenger may take over, and why.

    Attributes:
        against: metric -> challenger minus champion on the same rows, when there is a champion (with the interval of
            the metric's `difference`).
        rows_needed: for INCONCLUSIVE, about how many labelled rows would decide; None: no number of rows would.
        level: one-sided level at which the challenger had to be better; None where it was held against no champion:
            there is none, or what it costs was not within the budgets.
        noisy: INCONCLUSIVE for nothing but a busy machine: measured again, it may be decided.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]
    against: Mapping[str, Interval]
    champion_version: str | None
    rows: int
    rows_needed: int | None = None
    level: float | None = None
    noisy: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An exported model, ready to be judged by what it would cost and do in production.

    Attributes:
        graph: path of the ONNX file: raw columns in, the task's answers out.
        digest: SHA-256 of that file.
        parity: largest difference to the native model on the test rows, see `AnswerSpec.largest_difference`.
        p99_ms: 99th percentile of answering one raw row, by the graph alone, tensors in hand.
        served_p99_ms: the same over HTTP in the real server, logged before it is answered: what the budget bounds.
            None where it was not measured.
    """

    framework: str
    graph: Path
    digest: str
    parity: float
    size_mb: float
    p99_ms: float
    served_p99_ms: float | None = None
    latency: Latency | None = None
    """The rounds behind `served_p99_ms`."""
