"""The gate `Better`: a one-sided superiority test of challenger over champion. See docs/adr/0054."""

from __future__ import annotations

from collections.abc import Iterator

from fullcircle.core.project import Better
from fullcircle.core.statistics.interval import Interval, in_digits
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.alpha_spending import Analysis
from fullcircle.evaluation.gate_types import MIN_OF_A_CLASS, GateInput, GateOutcome
from fullcircle.evaluation.metric_wording import difference
from fullcircle.evaluation.superiority_test import SuperiorityResult, rows_to_decide, superiority_test


def superiority_gates(gate_input: GateInput) -> Iterator[GateOutcome]:
    """Taking over costs something, so it takes evidence: a tie keeps the champion."""
    if gate_input.champion is None:
        return
    named = [gate for gate in gate_input.project.gates if isinstance(gate, Better)]
    for gate in named or [Better(gate_input.project.target.primary)]:
        yield superiority_outcome(gate, _gain(gate.metric, gate_input), gate_input)


def superiority_outcome(gate: Better, gain: Interval, gate_input: GateInput) -> GateOutcome:
    """The word on a gain over the champion (greater is better), at the level that the case's look leaves.

    A challenger is rejected as no better only when all of its 95% interval is further below what was asked than what
    counts as nothing in that metric.
    """
    task = gate_input.project.target
    metric = task.metrics[gate.metric]
    test = superiority_test(gain, gate.min_absolute_change, gate_input.analysis.test_level, freedom=gate_input.freedom)
    slack = metric.negligible
    more = f" by more than {gate.min_absolute_change:g}" if gate.min_absolute_change else ""
    name = "better than champion" if gate.metric == task.primary else f"{gate.metric} better than champion"
    whose = f"{gate_input.version}'s"
    said = f"{difference(metric, metric.gain(gain), whose)}, {_p(test)}"
    if gain.low == gain.high and gain.value <= test.null_value:
        return GateOutcome(name, Outcome.INCONCLUSIVE, f"{said}: it answers alike, so the champion stays", 0.0)
    if gain.high < test.null_value - slack:
        end = f"not better{more} even at its good end" if more else "worse even at its good end"
        return GateOutcome(name, Outcome.REJECT, f"{said}: {end}", test.null_value - gain.value)
    if gate_input.analysis.level == 0.0:
        return GateOutcome(name, Outcome.INCONCLUSIVE, f"{said}: {_budget_spent(gate_input.analysis)}")
    if gate_input.spare < MIN_OF_A_CLASS:
        few = f"{said}: only {gate_input.spare} {gate_input.scarcity.of}, which prove nothing"
        return GateOutcome(name, Outcome.INCONCLUSIVE, few, None, gate_input.rows_for(MIN_OF_A_CLASS))
    look = f"look {gate_input.analysis.number} of {gate_input.analysis.n_analyses}"
    asked = f"(asked for: {test.level:.2g}, {look}{_clusters(gate_input)})"
    if test.proven:
        return GateOutcome(name, Outcome.PROMOTE, f"{said} {asked}: better{more}")
    needed_rows, why = _rows_needed(test, slack, gate_input, more)
    return GateOutcome(name, Outcome.INCONCLUSIVE, f"{said} {asked}: {why}", test.shortfall, needed_rows)


def _gain(name: str, gate_input: GateInput) -> Interval:
    """Challenger minus champion, greater is better.

    By the metric's own test: the standard error of 500 resamples has a noise of its own, with which the test would err
    a tenth more often than its level says.
    """
    metric = gate_input.metric(name)
    assert gate_input.champion is not None
    return metric.gain(metric.test(gate_input.targets, gate_input.challenger, gate_input.champion, gate_input.seed))


def _clusters(gate_input: GateInput) -> str:
    """Of what the evidence is, where rows are not it: ", on 28 clusters of rows"."""
    return "" if gate_input.clusters is None else f", on {int(gate_input.clusters.max()) + 1} clusters of rows"


def _p(test: SuperiorityResult) -> str:
    return f"p = {test.p_value:.2g}" if test.p_value >= 1e-9 else "p < 1e-09"


def _rows_needed(test: SuperiorityResult, slack: float, gate_input: GateInput, more: str) -> tuple[int | None, str]:
    """Rows that would decide, and what the data say as they are."""
    rows, power, gain = len(gate_input.targets), gate_input.project.evidence.power, test.gain.value
    if gain > test.null_value:
        short = f"that it is better{more} is not proven, {in_digits(test.shortfall)} short"
        return rows_to_decide(test.gain, test.null_value, rows, level=test.level, power=power), short
    if gain < test.null_value - slack:
        rather = "more likely worse, but not proven to be" if gain < 0 else f"more likely not better{more}"
        return rows_to_decide(test.gain, test.null_value - slack, rows, power=power), f"{rather}, so the champion stays"
    moved = test.null_value + slack - gain  # a gain that would be worth it, as sure as the one that was seen
    worth = Interval(value=gain + moved, low=test.gain.low + moved, high=test.gain.high + moved)
    needed = rows_to_decide(worth, test.null_value, rows, level=test.level, power=power) if slack else None
    enough = f"; a gain of {slack:g} would show on about {needed:,} rows" if needed else ""
    tie = f"too close to {test.null_value:g} to tell" if test.null_value else "a tie"
    return needed, f"{tie}, so the champion stays{enough}"


def _budget_spent(analysis: Analysis) -> str:
    since = f" until {analysis.free_at:%Y-%m-%d}" if analysis.free_at else ""
    return f"the error budget of {analysis.alpha:g} for {analysis.n_analyses} looks is spent{since}"
