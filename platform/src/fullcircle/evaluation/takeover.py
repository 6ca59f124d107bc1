"""The gate `Better`: whether the gain over the champion is progress or luck. See docs/adr/0054."""

from __future__ import annotations

from collections.abc import Iterator

from fullcircle.core.project import Better
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.case import MIN_OF_A_CLASS, Case, Word
from fullcircle.evaluation.spending import Look
from fullcircle.evaluation.superiority import Superiority, rows_to_decide, superiority
from fullcircle.evaluation.wording import difference


def takeovers(case: Case) -> Iterator[Word]:
    """Taking over costs something, so it takes evidence: a tie keeps the champion."""
    if case.champion is None:
        return
    named = [gate for gate in case.project.gates if isinstance(gate, Better)]
    for gate in named or [Better(case.project.target.primary)]:
        yield takeover(gate, _gain(gate.metric, case), case)


def takeover(gate: Better, gain: Interval, case: Case) -> Word:
    """The word on a gain over the champion (greater is better), at the level that the case's look leaves.

    A challenger is rejected as no better only when all of its 95% interval is further below what was asked than what
    counts as nothing in that metric.
    """
    task = case.project.target
    metric = task.metrics[gate.metric]
    test = superiority(gain, gate.min_absolute_change, case.look.test_level)
    slack = metric.negligible
    more = f" by more than {gate.min_absolute_change:g}" if gate.min_absolute_change else ""
    name = "better than champion" if gate.metric == task.primary else f"{gate.metric} better than champion"
    whose = f"{case.version}'s"
    said = f"{difference(metric, metric.gain(gain), whose)}, {_p(test)}"
    if gain.low == gain.high and gain.value <= test.border:
        return Word(name, Outcome.INCONCLUSIVE, f"{said}: it answers alike, so the champion stays", 0.0)
    if gain.high < test.border - slack:
        end = f"not better{more} even at its good end" if more else "worse even at its good end"
        return Word(name, Outcome.REJECT, f"{said}: {end}", test.border - gain.value)
    if case.look.level == 0.0:
        return Word(name, Outcome.INCONCLUSIVE, f"{said}: {_spent(case.look)}")
    if case.spare < MIN_OF_A_CLASS:
        few = f"{said}: only {case.spare} {case.scarcity.of}, which prove nothing"
        return Word(name, Outcome.INCONCLUSIVE, few, None, case.rows_for(MIN_OF_A_CLASS))
    asked = f"(asked for: {test.level:.2g}, look {case.look.number} of {case.look.looks})"
    if test.proven:
        return Word(name, Outcome.PROMOTE, f"{said} {asked}: better{more}")
    needed_rows, why = _rows_to_prove(test, slack, case, more)
    return Word(name, Outcome.INCONCLUSIVE, f"{said} {asked}: {why}", test.shortfall, needed_rows)


def _gain(name: str, case: Case) -> Interval:
    """Challenger minus champion, greater is better.

    By the metric's own test: the standard error of 500 resamples has a noise of its own, with which the test would err
    a tenth more often than its level says.
    """
    metric = case.project.target.metrics[name]
    assert case.champion is not None
    return metric.gain(metric.test(case.targets, case.challenger, case.champion, case.seed))


def _p(test: Superiority) -> str:
    return f"p = {test.p_value:.2g}" if test.p_value >= 1e-9 else "p < 1e-09"


def _rows_to_prove(test: Superiority, slack: float, case: Case, more: str) -> tuple[int | None, str]:
    """Rows that would decide, and what the data say as they are."""
    rows, power, gain = len(case.targets), case.project.evidence.power, test.gain.value
    if gain > test.border:
        short = f"that it is better{more} is not proven, {test.shortfall:.4f} short"
        return rows_to_decide(test.gain, test.border, rows, level=test.level, power=power), short
    if gain < test.border - slack:
        rather = "more likely worse, but not proven to be" if gain < 0 else f"more likely not better{more}"
        return rows_to_decide(test.gain, test.border - slack, rows, power=power), f"{rather}, so the champion stays"
    moved = test.border + slack - gain  # a gain that would be worth it, as sure as the one that was seen
    worth = Interval(value=gain + moved, low=test.gain.low + moved, high=test.gain.high + moved)
    needed = rows_to_decide(worth, test.border, rows, level=test.level, power=power) if slack else None
    shown = f"; a gain of {slack:g} would show on about {needed:,} rows" if needed else ""
    tie = f"too close to {test.border:g} to tell" if test.border else "a tie"
    return needed, f"{tie}, so the champion stays{shown}"


def _spent(look: Look) -> str:
    since = f" until {look.free_at:%Y-%m-%d}" if look.free_at else ""
    return f"the error budget of {look.alpha:g} for {look.looks} looks is spent{since}"
