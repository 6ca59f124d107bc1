"""The gate: whether a challenger may take over. Pure: values in, a `Verdict` with its reasons out.

One gate's word is promote, reject or inconclusive. One rejection rejects; else one doubt leaves it open; only
agreement promotes. See docs/adr/0050-three-verdicts.md for the rules and why they are so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.models import Candidate, Evaluation, GateResult, Interval, Outcome, Verdict
from fullcircle.core.project import AtLeast, NotWorse, Project, Slice
from fullcircle.core.statistics import Z95, paired_bootstrap, roc_auc, standard_error
from fullcircle.evaluation.evaluate import checked_labels, in_unit_interval
from fullcircle.evaluation.holm import fallen_slices
from fullcircle.evaluation.metrics import METRIC, TITLE

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

TAKEOVER_SLACK = 0.005
"""ROC AUC that counts as nothing: a takeover's paired interval may reach this far below zero, and a challenger is
rejected as worse only when all of its interval is below that."""
MOST_ROWS = 10_000_000
"""`rows_needed` beyond this says no more than "never in practice"."""


@dataclass(frozen=True)
class _Word:
    gate: str
    outcome: Outcome
    detail: str
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
    seed: int = 0,
) -> Verdict:
    """Whether the challenger may take over from the champion (or be the first).

    Args:
        frame: the held-out rows, with target and slice columns.
        challenger, baseline, champion: probabilities (rows,) on those same rows. champion None: there is none;
            baseline None: the challenger is the baseline itself.
        evaluation: the challenger's, on these rows.
        candidate: its exported graph; None leaves out parity, size and latency.

    Raises:
        ValueError: when baseline or champion do not fit the rows. A challenger's NaN is a rejection, not an error.
    """
    labels = checked_labels(project, frame, challenger if baseline is None else baseline)
    if challenger.shape != labels.shape or not in_unit_interval(challenger):
        word = _Word("finite", Outcome.REJECT, "the challenger gives answers that are no probabilities")
        return _verdict([word], {}, champion_version, len(labels))
    against: dict[str, Interval] = {}
    if champion is not None:
        checked_labels(project, frame, champion)
        against = {
            name: paired_bootstrap(labels, challenger, champion, metric, seed=seed)
            for name, (metric, _) in METRIC.items()
        }
    version = f"version {champion_version}" if champion_version else "the champion"
    case = _Case(project, frame, labels, challenger, champion, version, against)
    words = [
        *_beats_baseline(labels, challenger, baseline, seed),
        *_project_gates(case, evaluation),
        *_slice_gates(case, seed),
        *_takeover(case),
        *(_budgets(project, candidate) if candidate else ()),
    ]
    return _verdict(words, against, champion_version, len(labels))


def rows_to_decide(difference: Interval, border: float, rows: int) -> int | None:
    """About how many rows put `border` outside the interval; None when no number of rows would.

    The half width shrinks with the square root of the rows (normal approximation).
    """
    gap, half = abs(difference.value - border), Z95 * standard_error(difference)
    if half == 0.0:
        return None
    return min(MOST_ROWS, max(rows + 1, math.ceil(rows * (half / gap) ** 2))) if gap > 0 else MOST_ROWS


def _verdict(words: list[_Word], against: dict[str, Interval], version: str | None, rows: int) -> Verdict:
    said = {word.outcome for word in words}
    outcome = next((o for o in (Outcome.REJECT, Outcome.INCONCLUSIVE) if o in said), Outcome.PROMOTE)
    deciding = [word for word in words if word.outcome is outcome]
    needed = [word.rows_needed for word in deciding if word.rows_needed is not None]
    return Verdict(
        outcome=outcome,
        reasons=tuple(word.detail for word in deciding),
        gates=tuple(GateResult(gate=w.gate, passed=w.outcome is Outcome.PROMOTE, detail=w.detail) for w in words),
        against=against,
        champion_version=version,
        rows=rows,
        rows_needed=max(needed) if needed and outcome is Outcome.INCONCLUSIVE else None,
    )


def _beats_baseline(
    labels: NDArray[np.int8], challenger: NDArray[np.float32], baseline: NDArray[np.float32] | None, seed: int
) -> Iterator[_Word]:
    if baseline is None:
        return
    difference = paired_bootstrap(labels, challenger, baseline, roc_auc, seed=seed)
    gate, number = "beats baseline", f"by {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    said = f"ROC AUC differs from the logistic baseline's {number}"
    if difference.value > 0:
        yield _Word(gate, Outcome.PROMOTE, f"{said}: better")
    elif difference.high <= 0:
        yield _Word(gate, Outcome.REJECT, f"{said}: no better")
    else:
        needed = rows_to_decide(difference, 0.0, len(labels))
        yield _Word(gate, Outcome.INCONCLUSIVE, f"{said}: too close to call", needed)


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
    return _Word(f"{gate.metric} {border}", Outcome.PROMOTE if passed else Outcome.REJECT, detail)


def _not_worse(gate: NotWorse, case: _Case) -> _Word:
    name, title = f"{gate.metric} not worse by {gate.margin:g}", TITLE[gate.metric]
    if case.champion is None:
        return _Word(name, Outcome.PROMOTE, f"{title}: there is no champion to be worse than")
    worse = _worse(case.against[gate.metric], METRIC[gate.metric][1])
    said = f"{title} is worse than {case.version}'s by {worse.value:+.4f} [{worse.low:+.4f}, {worse.high:+.4f}]"
    if worse.high <= gate.margin:
        return _Word(name, Outcome.PROMOTE, f"{said}: within the margin of {gate.margin:g} even at its bad end")
    if worse.low > gate.margin:
        return _Word(name, Outcome.REJECT, f"{said}: beyond the margin of {gate.margin:g} even at its good end")
    needed = rows_to_decide(worse, gate.margin, len(case.labels))
    return _Word(name, Outcome.INCONCLUSIVE, f"{said}: the margin of {gate.margin:g} lies inside", needed)


def _worse(difference: Interval, greater_is_better: bool) -> Interval:
    if not greater_is_better:
        return difference
    return Interval(value=-difference.value, low=-difference.high, high=-difference.low)


def _takeover(case: _Case) -> Iterator[_Word]:
    """Taking over costs something, so a tie keeps the champion: the point estimate must be better."""
    if case.champion is None:
        return
    gain = case.against["roc_auc"]
    gate, said = (
        "better than champion",
        (f"ROC AUC differs from {case.version}'s by {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"),
    )
    if gain.value > 0 and gain.low > -TAKEOVER_SLACK:
        yield _Word(gate, Outcome.PROMOTE, f"{said}: better, and at worst within {TAKEOVER_SLACK:g}")
    elif gain.high < -TAKEOVER_SLACK:
        yield _Word(gate, Outcome.REJECT, f"{said}: worse by more than {TAKEOVER_SLACK:g}")
    elif gain.low == gain.high:
        yield _Word(gate, Outcome.INCONCLUSIVE, f"{said}: it answers alike, so the champion stays")
    else:
        border = 0.0 if -TAKEOVER_SLACK <= gain.value <= 0 else -TAKEOVER_SLACK
        needed = rows_to_decide(gain, border, len(case.labels))
        yield _Word(gate, Outcome.INCONCLUSIVE, f"{said}: not enough to take over", needed)


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
            yield _Word(_slice_name(gate), Outcome.REJECT, f"{gate.column}: {limit} in {worst}")
        else:
            yield _Word(_slice_name(gate), Outcome.PROMOTE, f"{gate.column}: in none of {looked_at} groups is {limit}")


def _slice_name(gate: Slice) -> str:
    return f"{gate.metric} in each {gate.column}"


def _budgets(project: Project, candidate: Candidate) -> Iterator[_Word]:
    budgets = project.budgets
    for gate, value, limit, unit in (
        ("parity", candidate.parity, budgets.parity, ""),
        ("size", candidate.size_mb, budgets.size_mb, " MB"),
        ("p99 latency", candidate.p99_ms, budgets.p99_ms, " ms"),
    ):
        # Written so that a NaN fails.
        outcome = Outcome.PROMOTE if value <= limit else Outcome.REJECT
        sign = "within" if outcome is Outcome.PROMOTE else "over"
        yield _Word(gate, outcome, f"{gate} of the graph is {value:.3g}{unit}, {sign} the budget of {limit:g}{unit}")
