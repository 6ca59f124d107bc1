"""The gate: whether a challenger may take over. Pure: values in, a `Verdict` with its reasons out.

One gate's word is promote, reject or inconclusive. One rejection rejects; else one doubt leaves it open; only
agreement promotes. See docs/adr/0050-three-verdicts.md for the rules, and 0054 for the evidence that "better" takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.models import Candidate, Evaluation, GateResult, Interval, Outcome, Verdict
from fullcircle.core.project import AtLeast, Better, NotWorse, Project, Slice
from fullcircle.core.statistics import delong, paired_bootstrap, roc_auc
from fullcircle.evaluation.evaluate import checked_labels, in_unit_interval
from fullcircle.evaluation.holm import fallen_slices
from fullcircle.evaluation.metrics import METRIC, TITLE
from fullcircle.evaluation.spending import Look, next_look
from fullcircle.evaluation.superiority import Superiority, rows_to_decide, superiority

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

TAKEOVER_SLACK = 0.005
"""ROC AUC that counts as nothing: a challenger is rejected as no better only when all of its 95% interval is this far
below what was asked."""
MIN_OF_A_CLASS = 20
"""Below this many rows of either class the normal limit of the ROC AUC's difference proves nothing."""


@dataclass(frozen=True)
class _Word:
    gate: str
    outcome: Outcome
    detail: str
    missed_by: float | None = None
    rows_needed: int | None = None


@dataclass(frozen=True)
class _Case:
    """What every gate looks at. `against[metric]`: challenger minus champion on the same rows."""

    project: Project
    frame: pd.DataFrame
    labels: NDArray[np.int8]
    challenger: NDArray[np.float32]
    champion: NDArray[np.float32] | None
    version: str
    look: Look
    against: dict[str, Interval]


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
    look: Look | None = None,
    seed: int = 0,
) -> Verdict:
    """Whether the challenger may take over from the champion (or be the first).

    Args:
        frame: the held-out rows, with target and slice columns.
        challenger, baseline, champion: probabilities (rows,) on those same rows. champion None: there is none;
            baseline None: the challenger is the baseline itself.
        evaluation: the challenger's, on these rows.
        candidate: its exported graph; None leaves out parity, size and latency.
        look: the part of the error budget that may be spent; None: that of the project's first look.

    Raises:
        ValueError: when baseline or champion do not fit the rows. A challenger's NaN is a rejection, not an error.
    """
    labels = checked_labels(project, frame, challenger if baseline is None else baseline)
    if challenger.shape != labels.shape or not in_unit_interval(challenger):
        word = _Word("finite", Outcome.REJECT, "the challenger gives answers that are no probabilities")
        return _verdict([word], {}, champion_version, len(labels), None)
    look = look or next_look(project.evidence, (), datetime.min.replace(tzinfo=UTC))
    version = f"version {champion_version}" if champion_version else "the champion"
    against: dict[str, Interval] = {}
    if champion is not None:
        checked_labels(project, frame, champion)
        against = _differences(labels, challenger, champion, seed)
    case = _Case(project, frame, labels, challenger, champion, version, look, against)
    words = [
        *_beats_baseline(labels, challenger, baseline),
        *_project_gates(case, evaluation),
        *_slice_gates(case, seed),
        *_takeovers(case),
        *(_budgets(project, candidate) if candidate else ()),
    ]
    return _verdict(words, against, champion_version, len(labels), look.test_level if against else None)


def _differences(
    labels: NDArray[np.int8], challenger: NDArray[np.float32], champion: NDArray[np.float32], seed: int
) -> dict[str, Interval]:
    """Metric -> challenger minus champion on the same rows: DeLong's interval for ROC AUC, else the bootstrap's."""
    return {
        name: delong(labels, challenger, champion)
        if metric is roc_auc
        else paired_bootstrap(labels, challenger, champion, metric, seed=seed)
        for name, (metric, _) in METRIC.items()
    }


def _verdict(
    words: list[_Word], against: dict[str, Interval], version: str | None, rows: int, level: float | None
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
    )


def _beats_baseline(
    labels: NDArray[np.int8], challenger: NDArray[np.float32], baseline: NDArray[np.float32] | None
) -> Iterator[_Word]:
    if baseline is None:
        return
    difference = delong(labels, challenger, baseline)
    gate, number = "beats baseline", f"by {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    said = f"ROC AUC differs from the logistic baseline's {number}"
    if difference.value > 0:
        yield _Word(gate, Outcome.PROMOTE, f"{said}: {'better' if difference.low > 0 else 'ahead, but maybe by luck'}")
    elif difference.high <= 0:
        yield _Word(gate, Outcome.REJECT, f"{said}: no better", -difference.value)
    else:
        needed = rows_to_decide(difference, 0.0, len(labels))
        yield _Word(gate, Outcome.INCONCLUSIVE, f"{said}: too close to call", -difference.value, needed)


def _project_gates(case: _Case, evaluation: Evaluation) -> Iterator[_Word]:
    for gate in case.project.gates:
        if isinstance(gate, AtLeast):
            yield _at_least(gate, evaluation)
        elif isinstance(gate, NotWorse):
            yield _not_worse(gate, case)


def _at_least(gate: AtLeast, evaluation: Evaluation) -> _Word:
    value, greater = evaluation.metrics[gate.metric], METRIC[gate.metric][1]
    passed = value.value >= gate.threshold if greater else value.value <= gate.threshold
    border = f"{'at least' if greater else 'at most'} {gate.threshold:g}"
    detail = f"{TITLE[gate.metric]} is {value}, which is {'' if passed else 'not '}{border}"
    name, off = f"{gate.metric} {border}", abs(value.value - gate.threshold)
    return _Word(name, Outcome.PROMOTE, detail) if passed else _Word(name, Outcome.REJECT, detail, off)


def _not_worse(gate: NotWorse, case: _Case) -> _Word:
    name, title = f"{gate.metric} not worse by {gate.margin:g}", TITLE[gate.metric]
    if case.champion is None:
        return _Word(name, Outcome.PROMOTE, f"{title}: there is no champion to be worse than")
    found, greater = case.against[gate.metric], METRIC[gate.metric][1]
    worse, better = _worse(found, greater), "more" if greater else "less"
    numbers = f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] ({better} is better)"
    said = f"{title} differs from {case.version}'s by {numbers}"
    if worse.high <= gate.margin:
        return _Word(name, Outcome.PROMOTE, f"{said}: within the margin of {gate.margin:g} even at its bad end")
    off = worse.high - gate.margin
    if worse.low > gate.margin:
        return _Word(name, Outcome.REJECT, f"{said}: beyond the margin of {gate.margin:g} even at its good end", off)
    needed = rows_to_decide(worse, gate.margin, len(case.labels), power=case.project.evidence.power)
    return _Word(name, Outcome.INCONCLUSIVE, f"{said}: the margin of {gate.margin:g} lies inside", off, needed)


def _worse(difference: Interval, greater_is_better: bool) -> Interval:
    return _negated(difference) if greater_is_better else difference


def _negated(difference: Interval) -> Interval:
    return Interval(value=-difference.value, low=-difference.high, high=-difference.low)


def _takeovers(case: _Case) -> Iterator[_Word]:
    """Taking over costs something, so it takes evidence: a tie keeps the champion."""
    if case.champion is None:
        return
    named = [gate for gate in case.project.gates if isinstance(gate, Better)]
    for gate in named or [Better("roc_auc")]:
        yield _takeover(gate, case)


def _takeover(gate: Better, case: _Case) -> _Word:
    gain = case.against[gate.metric] if METRIC[gate.metric][1] else _negated(case.against[gate.metric])
    test = superiority(gain, gate.min_absolute_change, case.look.test_level)
    slack = TAKEOVER_SLACK if gate.metric == "roc_auc" else 0.0
    more = f" by more than {gate.min_absolute_change:g}" if gate.min_absolute_change else ""
    name = "better than champion" if gate.metric == "roc_auc" else f"{gate.metric} better than champion"
    said = (
        f"{TITLE[gate.metric]} is better than {case.version}'s by {gain.value:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}], {_p(test)}"
    )
    spare = min(int(case.labels.sum()), int((case.labels == 0).sum()))
    if gain.low == gain.high and gain.value <= test.border:
        return _Word(name, Outcome.INCONCLUSIVE, f"{said}: it answers alike, so the champion stays", 0.0)
    if gain.high < test.border - slack:
        return _Word(name, Outcome.REJECT, f"{said}: not better{more} even at its good end", test.border - gain.value)
    if case.look.level == 0.0:
        return _Word(name, Outcome.INCONCLUSIVE, f"{said}: {_spent(case.look)}")
    if spare < MIN_OF_A_CLASS:
        needed = math.ceil(len(case.labels) * MIN_OF_A_CLASS / max(spare, 1))
        few = f"{said}: only {spare} rows of one class, which prove nothing"
        return _Word(name, Outcome.INCONCLUSIVE, few, None, needed)
    asked = f"(asked for: {test.level:.2g}, look {case.look.number} of {case.look.looks})"
    if test.proven:
        return _Word(name, Outcome.PROMOTE, f"{said} {asked}: better{more}")
    needed_rows, why = _rows_to_prove(test, slack, case)
    return _Word(name, Outcome.INCONCLUSIVE, f"{said} {asked}: {why}", test.shortfall, needed_rows)


def _p(test: Superiority) -> str:
    return f"p = {test.p_value:.2g}" if test.p_value >= 1e-9 else "p < 1e-09"


def _rows_to_prove(test: Superiority, slack: float, case: _Case) -> tuple[int | None, str]:
    """Rows that would decide, and what the data say as they are."""
    rows, power = len(case.labels), case.project.evidence.power
    if test.gain.value > test.border:
        short = f"not proven, {test.shortfall:.4f} short"
        return rows_to_decide(test.gain, test.border, rows, level=test.level, power=power), short
    if test.gain.value < test.border - slack:
        return rows_to_decide(test.gain, test.border - slack, rows, power=power), "more likely not better"
    worth = Interval(value=test.border + slack, low=test.gain.low, high=test.gain.high)
    needed = rows_to_decide(worth, test.border, rows, level=test.level, power=power) if slack else None
    shown = f"; a gain of {slack:g} would show on about {needed:,} rows" if needed else ""
    return needed, f"a tie, so the champion stays{shown}"


def _spent(look: Look) -> str:
    since = f" until {look.free_at:%Y-%m-%d}" if look.free_at else ""
    return f"the error budget of {look.alpha:g} for {look.looks} looks is spent{since}"


def _slice_gates(case: _Case, seed: int) -> Iterator[_Word]:
    gates = [gate for gate in case.project.gates if isinstance(gate, Slice)]
    if case.champion is None:
        for gate in gates:
            yield _Word(_slice_name(gate), Outcome.PROMOTE, f"{gate.column}: there is no champion to fall below")
        return
    found = fallen_slices(
        case.project, case.frame, case.labels, gates, challenger=case.challenger, champion=case.champion, seed=seed
    )
    for gate, (looked_at, fallen) in zip(gates, found, strict=True):
        limit = f"{TITLE[gate.metric]} more than {gate.drop:g} below {case.version}'s"
        if fallen:
            worst = "; ".join(f"{group} by {fall}" for group, fall in fallen)
            off = max(fall.value for _, fall in fallen) - gate.drop
            yield _Word(_slice_name(gate), Outcome.REJECT, f"{gate.column}: {limit} in {worst}", off)
        else:
            yield _Word(_slice_name(gate), Outcome.PROMOTE, f"{gate.column}: in none of {looked_at} groups is {limit}")


def _slice_name(gate: Slice) -> str:
    return f"{gate.metric} in each {gate.column}"


def _budgets(project: Project, candidate: Candidate) -> Iterator[_Word]:
    budgets, served = project.budgets, candidate.served_p99_ms
    latency, where = (candidate.p99_ms, "of the graph") if served is None else (served, "in the server")
    for gate, what, value, limit, unit in (
        ("parity", "parity of the graph", candidate.parity, budgets.parity, ""),
        ("size", "size of the graph", candidate.size_mb, budgets.size_mb, " MB"),
        ("p99 latency", f"p99 latency {where}", latency, budgets.p99_ms, " ms"),
    ):
        # Written so that a NaN fails.
        outcome = Outcome.PROMOTE if value <= limit else Outcome.REJECT
        sign = "within" if outcome is Outcome.PROMOTE else "over"
        detail = f"{what} is {value:.3g}{unit}, {sign} the budget of {limit:g}{unit}"
        yield _Word(gate, outcome, detail, value - limit if value > limit else None)
