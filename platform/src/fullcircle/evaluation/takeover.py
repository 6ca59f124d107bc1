"""The gate `Better`: whether the gain over the champion is progress or luck. See docs/adr/0054."""

from __future__ import annotations

from collections.abc import Iterator

from fullcircle.core.project import Better
from fullcircle.core.statistics.binary_metrics import brier, log_loss
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.intervals import paired_mean_interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.case import MIN_OF_A_CLASS, Case, Word, negated
from fullcircle.evaluation.metrics import METRIC
from fullcircle.evaluation.spending import Look
from fullcircle.evaluation.superiority import Superiority, rows_to_decide, superiority
from fullcircle.evaluation.wording import difference

TAKEOVER_SLACK = 0.005
"""ROC AUC that counts as nothing: a challenger is rejected as no better only when all of its 95% interval is this far
below what was asked."""


def takeovers(case: Case) -> Iterator[Word]:
    """Taking over costs something, so it takes evidence: a tie keeps the champion."""
    if case.champion is None:
        return
    named = [gate for gate in case.project.gates if isinstance(gate, Better)]
    for gate in named or [Better("roc_auc")]:
        yield takeover(gate, _gain(gate.metric, case), case)


def takeover(gate: Better, gain: Interval, case: Case) -> Word:
    """The word on a gain over the champion (greater is better), at the level that the case's look leaves."""
    test = superiority(gain, gate.min_absolute_change, case.look.test_level)
    slack = TAKEOVER_SLACK if gate.metric == "roc_auc" else 0.0
    more = f" by more than {gate.min_absolute_change:g}" if gate.min_absolute_change else ""
    name = "better than champion" if gate.metric == "roc_auc" else f"{gate.metric} better than champion"
    as_it_is = gain if METRIC[gate.metric][1] else negated(gain)
    whose = f"{case.version}'s"
    said = f"{difference(gate.metric, as_it_is, whose)}, {_p(test)}"
    if gain.low == gain.high and gain.value <= test.border:
        return Word(name, Outcome.INCONCLUSIVE, f"{said}: it answers alike, so the champion stays", 0.0)
    if gain.high < test.border - slack:
        end = f"not better{more} even at its good end" if more else "worse even at its good end"
        return Word(name, Outcome.REJECT, f"{said}: {end}", test.border - gain.value)
    if case.look.level == 0.0:
        return Word(name, Outcome.INCONCLUSIVE, f"{said}: {_spent(case.look)}")
    if case.spare < MIN_OF_A_CLASS:
        few = f"{said}: only {case.spare} rows of one class, which prove nothing"
        return Word(name, Outcome.INCONCLUSIVE, few, None, case.rows_for(MIN_OF_A_CLASS))
    asked = f"(asked for: {test.level:.2g}, look {case.look.number} of {case.look.looks})"
    if test.proven:
        return Word(name, Outcome.PROMOTE, f"{said} {asked}: better{more}")
    needed_rows, why = _rows_to_prove(test, slack, case, more)
    return Word(name, Outcome.INCONCLUSIVE, f"{said} {asked}: {why}", test.shortfall, needed_rows)


def _gain(name: str, case: Case) -> Interval:
    """Challenger minus champion, greater is better.

    Of a mean over rows the standard error is known. That of 500 resamples has a noise of its own, with which the test
    would err a tenth more often than its level says.
    """
    metric, greater = METRIC[name]
    assert case.champion is not None
    exact = metric is log_loss or metric is brier
    found = paired_mean_interval(case.labels, case.challenger, case.champion, metric) if exact else case.against[name]
    return found if greater else negated(found)


def _p(test: Superiority) -> str:
    return f"p = {test.p_value:.2g}" if test.p_value >= 1e-9 else "p < 1e-09"


def _rows_to_prove(test: Superiority, slack: float, case: Case, more: str) -> tuple[int | None, str]:
    """Rows that would decide, and what the data say as they are."""
    rows, power, gain = len(case.labels), case.project.evidence.power, test.gain.value
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
