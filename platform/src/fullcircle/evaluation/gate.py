"""The gate: whether a challenger may take over. Pure: values in, a `Verdict` with its reasons out.

One gate's word is promote, reject or inconclusive. One rejection rejects; else one doubt leaves it open; only
agreement promotes. See docs/adr/0050-three-verdicts.md for the rules, and 0054 for the evidence that "better" takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import AtLeast, NotWorse, Project
from fullcircle.core.records.verdicts import Candidate, Evaluation, GateResult, Verdict
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.latency import judge_latency
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.statistics.small_samples import FEW_OF_A_CLASS
from fullcircle.core.tasks import Metric, Task
from fullcircle.core.tasks.metric import negated
from fullcircle.evaluation.alpha_spending import Analysis, next_analysis
from fullcircle.evaluation.duplicate_rows import distinct_rows
from fullcircle.evaluation.evaluate import checked_targets, require_answers, row_clusters
from fullcircle.evaluation.gate_types import MIN_OF_A_CLASS, GateInput, GateOutcome
from fullcircle.evaluation.metric_wording import difference
from fullcircle.evaluation.slice_gate import slice_gates
from fullcircle.evaluation.superiority_gate import superiority_gates
from fullcircle.evaluation.superiority_test import rows_to_decide

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LATENCY = "p99 latency"


def judge(
    project: Project,
    frame: pd.DataFrame,
    *,
    challenger: NDArray[np.float32],
    baseline: NDArray[np.float32] | None,
    champion: NDArray[np.float32] | None,
    champion_version: str | None,
    evaluation: Evaluation,
    candidate: Candidate | None,
    analysis: Analysis | None = None,
    seed: int = 0,
) -> Verdict:
    """Whether the challenger may take over from the champion (or be the first).

    Args:
        frame: the held-out rows, with target and slice columns.
        challenger, baseline, champion: answers to those same rows. champion None: there is none;
            baseline None: the challenger is the baseline itself.
        evaluation: the challenger's, on these rows.
        candidate: its exported graph; None leaves out parity, size and latency. One that is not `affordable` is held
            against no champion.
        look: the part of the error budget that may be spent; None: that of the project's first look.

    Raises:
        ValueError: when baseline or champion do not fit the rows. A challenger's NaN is a rejection, not an error.
    """
    if fault := project.target.fault(challenger, len(frame)):
        word = GateOutcome("finite", Outcome.REJECT, f"the challenger's answers {fault}")
        return _verdict([word], {}, champion_version, len(frame), None)
    targets = checked_targets(project, frame, challenger)
    for one in (baseline, champion):
        if one is not None:
            require_answers(project.target, one, len(targets))
    distinct = distinct_rows(project, frame)
    copies = len(distinct) - int(distinct.sum())
    frame, targets, challenger = frame[distinct], targets[distinct], challenger[distinct]
    baseline, champion = (None if one is None else one[distinct] for one in (baseline, champion))
    analysis = analysis or next_analysis(project.evidence, (), datetime.min.replace(tzinfo=UTC))
    clusters = row_clusters(project, frame)
    version = f"version {champion_version}" if champion_version else "the champion"
    against: dict[str, Interval] = {}
    if champion is not None and affordable(project, candidate):
        against = _differences(project.target, targets, challenger, champion, seed, clusters)
    gate_input = GateInput(project, frame, targets, challenger, champion, version, analysis, against, seed, clusters)
    words = [
        *_enough_rows(gate_input, copies),
        *_beats_baseline(gate_input, baseline),
        *(at_least(gate, gate_input, evaluation) for gate in project.gates if isinstance(gate, AtLeast)),
        *(_against_the_champion(gate_input, seed) if champion is None or against else ()),
        *(_budgets(project, candidate) if candidate else ()),
    ]
    return _verdict(words, against, champion_version, len(targets), analysis.test_level if against else None)


def _differences(
    task: Task,
    targets: NDArray[Any],
    challenger: NDArray[np.float32],
    champion: NDArray[np.float32],
    seed: int,
    clusters: NDArray[np.intp] | None,
) -> dict[str, Interval]:
    """Metric -> challenger minus champion on the same rows, where it is defined on them."""
    return {
        name: metric.clustered(clusters).difference(targets, challenger, champion, seed)
        for name, metric in task.metrics.items()
        if metric.undefined(targets) is None
    }


def _verdict(
    words: list[GateOutcome], against: dict[str, Interval], version: str | None, rows: int, level: float | None
) -> Verdict:
    said = {word.outcome for word in words}
    outcome = next((o for o in (Outcome.REJECT, Outcome.INCONCLUSIVE) if o in said), Outcome.PROMOTE)
    deciding = [word for word in words if word.outcome is outcome]
    needed = [word.rows_needed for word in deciding]
    # One doubt that no number of rows would settle leaves the whole verdict open.
    known = [number for number in needed if number is not None]
    settled = outcome is Outcome.INCONCLUSIVE and len(known) == len(needed)
    return Verdict(
        outcome=outcome,
        reasons=tuple(word.detail for word in deciding),
        gates=tuple(
            GateResult(
                gate=w.gate,
                passed=w.outcome is Outcome.PROMOTE,
                detail=w.detail,
                missed_by=w.missed_by,
                rows_needed=w.rows_needed,
            )
            for w in words
        ),
        against=against,
        champion_version=version,
        rows=rows,
        rows_needed=max(known) if settled else None,
        level=level,
        noisy=outcome is Outcome.INCONCLUSIVE and all(word.gate == LATENCY for word in deciding),
    )


def _enough_rows(gate_input: GateInput, copies: int) -> Iterator[GateOutcome]:
    """Silent where there are enough: a first champion, too, must have met more than a handful of rows."""
    if copies:
        all_rows = len(gate_input.targets) + copies
        said = f"{copies:,} of {all_rows:,} test rows are copies of another one, which is judged once"
        yield GateOutcome("distinct test rows", Outcome.PROMOTE, said)
    if gate_input.spare < MIN_OF_A_CLASS:
        said = (
            f"only {gate_input.spare} {gate_input.scarcity.of} among {len(gate_input.targets):,} test rows: "
            f"a verdict takes {MIN_OF_A_CLASS}{gate_input.scarcity.of_each}"
        )
        yield GateOutcome("enough test rows", Outcome.INCONCLUSIVE, said, None, gate_input.rows_for(MIN_OF_A_CLASS))


def _beats_baseline(gate_input: GateInput, baseline: NDArray[np.float32] | None) -> Iterator[GateOutcome]:
    if baseline is None:
        return
    metric = gate_input.metric(gate_input.project.target.primary)
    yield beats_baseline(
        metric,
        metric.difference(gate_input.targets, gate_input.challenger, baseline, gate_input.seed),
        len(gate_input.targets),
    )


def beats_baseline(metric: Metric, found: Interval, rows: int) -> GateOutcome:
    """The word on the challenger's primary metric minus the baseline's on so many rows."""
    gate, said, gain = "beats baseline", difference(metric, found, "the baseline's"), metric.gain(found)
    if gain.value > 0:
        return GateOutcome(gate, Outcome.PROMOTE, f"{said}: {'better' if gain.low > 0 else 'ahead, but maybe by luck'}")
    if gain.high <= 0:
        return GateOutcome(gate, Outcome.REJECT, f"{said}: no better", abs(gain.value))
    needed = rows_to_decide(gain, 0.0, rows)
    return GateOutcome(gate, Outcome.INCONCLUSIVE, f"{said}: too close to call", abs(gain.value), needed)


def _against_the_champion(gate_input: GateInput, seed: int) -> Iterator[GateOutcome]:
    yield from (not_worse(gate, gate_input) for gate in gate_input.project.gates if isinstance(gate, NotWorse))
    yield from slice_gates(gate_input, seed)
    yield from superiority_gates(gate_input)


def at_least(gate: AtLeast, gate_input: GateInput, evaluation: Evaluation) -> GateOutcome:
    """By the estimate; on few rows by both ends of its interval, since there the estimate may be anything."""
    metric, value = gate_input.project.target.metrics[gate.metric], evaluation.metrics.get(gate.metric)
    if value is None:
        why = metric.undefined(gate_input.targets) or "it was not measured"
        return GateOutcome(f"{gate.metric} of {gate.threshold:g}", Outcome.INCONCLUSIVE, f"no {metric.title}: {why}")
    greater = metric.greater_is_better
    border = f"{'at least' if greater else 'at most'} {gate.threshold:g}"
    name, off = f"{gate.metric} {border}", abs(value.value - gate.threshold)
    said = f"{metric.title} is {value} {metric.measure}".rstrip()
    ends = (value.low, value.high) if gate_input.spare < FEW_OF_A_CLASS else (value.value,)
    passed = {end >= gate.threshold if greater else end <= gate.threshold for end in ends}
    if len(passed) == 2:
        needed = rows_to_decide(value, gate.threshold, len(gate_input.targets), power=gate_input.project.evidence.power)
        open_still = f"{said}, which on so few rows may or may not be {border}"
        return GateOutcome(name, Outcome.INCONCLUSIVE, open_still, None, needed)
    if passed == {True}:
        return GateOutcome(name, Outcome.PROMOTE, f"{said}, which is {border}")
    return GateOutcome(name, Outcome.REJECT, f"{said}, which is not {border}", off)


def not_worse(gate: NotWorse, gate_input: GateInput) -> GateOutcome:
    """Non-inferiority to the champion, by `gate_input.against`."""
    name, metric = f"{gate.metric} not worse by {gate.margin:g}", gate_input.project.target.metrics[gate.metric]
    if gate_input.champion is None:
        return GateOutcome(name, Outcome.PROMOTE, f"{metric.title}: there is no champion to be worse than")
    if (found := gate_input.against.get(gate.metric)) is None:
        return GateOutcome(name, Outcome.INCONCLUSIVE, f"no {metric.title}: {metric.undefined(gate_input.targets)}")
    worse, said = negated(metric.gain(found)), difference(metric, found, f"{gate_input.version}'s")
    if worse.high <= gate.margin:
        return GateOutcome(name, Outcome.PROMOTE, f"{said}: within the margin of {gate.margin:g} even at its bad end")
    off = worse.high - gate.margin
    if worse.low > gate.margin:
        return GateOutcome(
            name, Outcome.REJECT, f"{said}: beyond the margin of {gate.margin:g} even at its good end", off
        )
    needed = rows_to_decide(worse, gate.margin, len(gate_input.targets), power=gate_input.project.evidence.power)
    ends = f"beyond the margin of {gate.margin:g} at its bad end, not at its good end"
    return GateOutcome(name, Outcome.INCONCLUSIVE, f"{said}: {ends}", off, needed)


def affordable(project: Project, candidate: Candidate | None) -> bool:
    """Whether the graph is within every budget. One that is not takes over from nobody, so it meets no champion: that
    would be a look at the evidence for nothing."""
    return candidate is None or all(word.outcome is Outcome.PROMOTE for word in _budgets(project, candidate))


def _budgets(project: Project, candidate: Candidate) -> Iterator[GateOutcome]:
    budgets = project.budgets
    yield _within("parity", "parity of the graph", candidate.parity, budgets.parity, "")
    yield _within("size", "size of the graph", candidate.size_mb, budgets.size_mb, " MB")
    if candidate.latency is not None:
        outcome, detail = judge_latency(candidate.latency, budgets.p99_ms)
        missed_by = None if outcome is Outcome.PROMOTE else _over(candidate.latency.p99_ms, budgets.p99_ms)
        yield GateOutcome(LATENCY, outcome, detail, missed_by)
        return
    served = candidate.served_p99_ms
    value, where = (candidate.p99_ms, "of the graph") if served is None else (served, "in the server")
    yield _within(LATENCY, f"p99 latency {where}", value, budgets.p99_ms, " ms")


def _within(gate: str, what: str, value: float, limit: float, unit: str) -> GateOutcome:
    # Written so that a NaN fails.
    outcome = Outcome.PROMOTE if value <= limit else Outcome.REJECT
    sign = "within" if outcome is Outcome.PROMOTE else "over"
    measured = "not a number" if math.isnan(value) else f"{value:.3g}{unit}"
    return GateOutcome(
        gate, outcome, f"{what} is {measured}, {sign} the budget of {limit:g}{unit}", _over(value, limit)
    )


def _over(value: float, limit: float) -> float | None:
    return value - limit if value > limit else None
