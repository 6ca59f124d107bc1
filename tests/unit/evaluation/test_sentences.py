"""Every sentence that the gate can say, as a table to read, and that none contradicts its numbers."""

from __future__ import annotations

import dataclasses
import itertools
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Better, Binary, NotWorse, Number, Project, Regression, SliceGate
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.tasks.metric import negated
from fullcircle.evaluation.alpha_spending import Analysis
from fullcircle.evaluation.gate import beats_baseline, not_worse
from fullcircle.evaluation.gate_types import GateInput, GateOutcome
from fullcircle.evaluation.metric_wording import difference
from fullcircle.evaluation.slice_gate import slice_outcome
from fullcircle.evaluation.superiority_gate import superiority_outcome

PROJECT = Project(
    name="p", owner="o", columns=(Number("x"),), target=Binary("late", positive="late"), time="t", row_id="i",
    torch=lambda inputs, params: None,
)  # fmt: skip
LEFT = Analysis(number=3, n_analyses=12, alpha=0.05, level=0.05 / 12)
SPENT = Analysis(number=13, n_analyses=12, alpha=0.05, level=0.0, free_at=datetime(2014, 1, 1, tzinfo=UTC))
NONE = np.empty(0, dtype="float32")


def gate_input(analysis: Analysis = LEFT, positives: int = 400, **against: Interval) -> GateInput:
    """1,000 rows or a few more, against version 2."""
    labels = np.array([1] * positives + [0] * 600, dtype="int8")
    return GateInput(PROJECT, pd.DataFrame(), labels, NONE, NONE, "version 2", analysis, against)


def off(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high)


def said(word: GateOutcome) -> tuple[str, str]:
    return str(word.outcome), word.detail


AUC, LOSS = "ROC AUC is", "log loss is"
ASKED = "(asked for: 0.0021, look 3 of 12)"
# gate, gain (greater is better), outcome, sentence
TAKING_OVER = [
    (Better("roc_auc"), off(0.08, 0.06, 0.10), "promote",
     f"{AUC} higher than version 2's by 0.0800 [+0.0600, +0.1000] (higher is better), p < 1e-09 {ASKED}: better"),
    (Better("roc_auc"), off(0.02, -0.01, 0.05), "inconclusive",
     f"{AUC} higher than version 2's by 0.0200 [-0.0100, +0.0500] (higher is better), p = 0.096 {ASKED}: "
     "that it is better is not proven, 0.0239 short"),
    (Better("roc_auc"), off(0.0, -0.01, 0.01), "inconclusive",
     f"ROC AUC equals version 2's to the digits shown [-0.0100, +0.0100] (higher is better), p = 0.5 {ASKED}: "
     "a tie, so the champion stays; a gain of 0.005 would show on about 14,309 rows"),
    (Better("roc_auc"), off(-0.003, -0.02, 0.014), "inconclusive",
     f"{AUC} lower than version 2's by 0.0030 [-0.0200, +0.0140] (higher is better), p = 0.64 {ASKED}: "
     "a tie, so the champion stays; a gain of 0.005 would show on about 41,351 rows"),
    (Better("roc_auc"), off(-0.0213, -0.05, 0.01), "inconclusive",
     f"{AUC} lower than version 2's by 0.0213 [-0.0500, +0.0100] (higher is better), p = 0.91 {ASKED}: "
     "more likely worse, but not proven to be, so the champion stays"),
    (Better("roc_auc"), off(-0.05, -0.08, -0.02), "reject",
     f"{AUC} lower than version 2's by 0.0500 [-0.0800, -0.0200] (higher is better), p = 1: "
     "worse even at its good end"),
    (Better("roc_auc"), off(0.0, 0.0, 0.0), "inconclusive",
     "ROC AUC equals version 2's to the digits shown [+0.0000, +0.0000] (higher is better), p = 1: "
     "it answers alike, so the champion stays"),
    (Better("roc_auc", 0.05), off(0.08, 0.06, 0.10), "promote",
     f"{AUC} higher than version 2's by 0.0800 [+0.0600, +0.1000] (higher is better), p = 0.0016 {ASKED}: "
     "better by more than 0.05"),
    (Better("roc_auc", 0.05), off(0.02, -0.01, 0.05), "inconclusive",
     f"{AUC} higher than version 2's by 0.0200 [-0.0100, +0.0500] (higher is better), p = 0.97 {ASKED}: "
     "more likely not better by more than 0.05, so the champion stays"),
    (Better("roc_auc", 0.05), off(0.002, -0.01, 0.014), "reject",
     f"{AUC} higher than version 2's by 0.0020 [-0.0100, +0.0140] (higher is better), p = 1: "
     "not better by more than 0.05 even at its good end"),
    (Better("log_loss"), off(0.08, 0.06, 0.10), "promote",
     f"{LOSS} lower than version 2's by 0.0800 [-0.1000, -0.0600] (lower is better), p < 1e-09 {ASKED}: better"),
    (Better("log_loss"), off(-0.0213, -0.05, 0.01), "inconclusive",
     f"{LOSS} higher than version 2's by 0.0213 [-0.0100, +0.0500] (lower is better), p = 0.91 {ASKED}: "
     "more likely worse, but not proven to be, so the champion stays"),
    (Better("log_loss"), off(-0.05, -0.08, -0.02), "reject",
     f"{LOSS} higher than version 2's by 0.0500 [+0.0200, +0.0800] (lower is better), p = 1: "
     "worse even at its good end"),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "gain", "outcome", "sentence"), TAKING_OVER)
def test_what_is_said_of_taking_over(gate: Better, gain: Interval, outcome: str, sentence: str) -> None:
    assert said(superiority_outcome(gate, gain, gate_input())) == (outcome, sentence)


def test_what_is_said_where_no_gain_could_be_proven() -> None:
    ahead, gate = off(0.08, 0.06, 0.10), Better("roc_auc")
    numbers = f"{AUC} higher than version 2's by 0.0800 [+0.0600, +0.1000] (higher is better), p < 1e-09"
    assert said(superiority_outcome(gate, ahead, gate_input(SPENT))) == (
        *("inconclusive", f"{numbers}: the error budget of 0.05 for 12 looks is spent until 2014-01-01"),
    )
    assert said(superiority_outcome(gate, ahead, gate_input(positives=10))) == (
        *("inconclusive", f"{numbers}: only 10 rows of one class, which prove nothing"),
    )


# metric, challenger minus champion, outcome, sentence
NOT_WORSE = [
    ("roc_auc", off(0.02, 0.01, 0.03), "promote",
     f"{AUC} higher than version 2's by 0.0200 [+0.0100, +0.0300] (higher is better): "
     "within the margin of 0.01 even at its bad end"),
    ("roc_auc", off(0.01, -0.02, 0.04), "inconclusive",
     f"{AUC} higher than version 2's by 0.0100 [-0.0200, +0.0400] (higher is better): "
     "beyond the margin of 0.01 at its bad end, not at its good end"),
    ("roc_auc", off(-0.03, -0.04, -0.02), "reject",
     f"{AUC} lower than version 2's by 0.0300 [-0.0400, -0.0200] (higher is better): "
     "beyond the margin of 0.01 even at its good end"),
    ("log_loss", off(-0.03, -0.04, -0.02), "promote",
     f"{LOSS} lower than version 2's by 0.0300 [-0.0400, -0.0200] (lower is better): "
     "within the margin of 0.01 even at its bad end"),
    ("log_loss", off(0.03, 0.02, 0.04), "reject",
     f"{LOSS} higher than version 2's by 0.0300 [+0.0200, +0.0400] (lower is better): "
     "beyond the margin of 0.01 even at its good end"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "found", "outcome", "sentence"), NOT_WORSE)
def test_what_is_said_of_not_being_worse(metric: str, found: Interval, outcome: str, sentence: str) -> None:
    assert said(not_worse(NotWorse(metric, 0.01), gate_input(**{metric: found}))) == (outcome, sentence)


# challenger minus baseline, outcome, sentence
BASELINE = [
    (off(0.02, 0.01, 0.03), "promote", "is higher than the baseline's by 0.0200 [+0.0100, +0.0300]: better"),
    (off(0.001, -0.02, 0.03), "promote",
     "is higher than the baseline's by 0.0010 [-0.0200, +0.0300]: ahead, but maybe by luck"),
    (off(-0.001, -0.02, 0.03), "inconclusive",
     "is lower than the baseline's by 0.0010 [-0.0200, +0.0300]: too close to call"),
    (off(-0.03, -0.04, -0.02), "reject",
     "is lower than the baseline's by 0.0300 [-0.0400, -0.0200]: no better"),
    (off(0.0, 0.0, 0.0), "reject", "equals the baseline's to the digits shown [+0.0000, +0.0000]: no better"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "outcome", "sentence"), BASELINE)
def test_what_is_said_of_the_baseline(found: Interval, outcome: str, sentence: str) -> None:
    assert said(beats_baseline(PROJECT.target.main, found, 1000)) == (
        outcome,
        f"ROC AUC {sentence.replace(']:', '] (higher is better):')}",
    )


def test_an_error_is_said_in_the_unit_of_its_target_and_a_share_is_not() -> None:
    metrics, found = Regression("count", unit="rentals").metrics, off(-15.12544, -21.9626, -8.6287)
    assert difference(metrics["mae"], found, "version 2's") == (
        "mean absolute error is lower than version 2's by 15.1254 rentals [-21.9626, -8.6287] (lower is better)"
    )
    assert "by 15.1254 [" in difference(metrics["r2"], found, "version 2's")
    assert [metrics[name].heading for name in ("mae", "r2")] == ["mean absolute error (rentals)", "R2"]


@pytest.mark.parametrize(("metric", "side"), [("roc_auc", "ROC AUC more than 0.03 below"), ("brier", "above")])
def test_a_slice_that_is_worse_lies_on_the_metrics_bad_side(metric: str, side: str) -> None:
    gate, fall = SliceGate("origin", metric, drop=0.03), off(0.05, 0.04, 0.06)
    fell = slice_outcome(gate, PROJECT.target.metrics[metric], 3, [("LGA", fall)], "version 2")
    assert fell.outcome is Outcome.REJECT
    assert f"{side} version 2's in LGA by 0.0500 [0.0400, 0.0600]" in fell.detail.replace("0.03 above", "above")
    assert slice_outcome(gate, PROJECT.target.metrics[metric], 3, [], "version 2").detail.startswith(
        "origin: in none of 3 groups is "
    )


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 1e8])
def test_an_error_in_the_units_of_a_target_is_shown_however_small_or_large_they_are(scale: float) -> None:
    """A length in metres of a few nanometres: four decimals would say that two models equal each other."""
    task = Regression("size", unit="m")
    project = dataclasses.replace(PROJECT, target=task, gates=())
    met = GateInput(project, pd.DataFrame(), np.zeros(1000), NONE, NONE, "version 2", LEFT, {})
    for value in (0.2, 0.0123, -0.2):
        gain = off(value * scale, (value - 0.005) * scale, (value + 0.005) * scale)
        words = (superiority_outcome(Better("mae"), gain, met), beats_baseline(task.main, negated(gain), 1000))
        for word in words:
            assert "equals" not in word.detail and word.outcome is not Outcome.INCONCLUSIVE, word.detail
            number, ends = re.search(r" by (\S+)(?: m)? \[(.*?)\] ", word.detail).groups()  # type: ignore[union-attr]
            assert float(number) == pytest.approx(abs(gain.value), rel=0.1)
            assert [float(end) for end in ends.split(", ")] == pytest.approx(
                [-gain.high, -gain.low], rel=0, abs=0.1 * gain.largest
            )
    assert str(off(3e-6, 2e-6, 4e-6)) == "0.0000030 [0.0000020, 0.0000040]"
    assert str(off(0.75, 0.7, 0.8)) == "0.7500 [0.7000, 0.8000]"


VALUES = (-0.2, -0.03, -0.0213, -0.003, -0.00001, 0.0, 0.00001, 0.003, 0.0213, 0.03, 0.2)
WIDTHS = (0.0, 0.001, 0.004, 0.02, 0.1)


def contradictions(sentence: str, gain: Interval, null_value: float, greater: bool) -> list[str]:
    """What a reader would object to. `gain`: greater is better."""
    direction = re.search(r" is (higher|lower) than .* by (\d\.\d+) \[", sentence)
    steps = 10.0 ** -len(re.search(r"\[[+-]\d\.(\d+),", sentence)[1])  # type: ignore[index]
    higher = gain.value > 0 if greater else gain.value < 0
    end = sentence.rpartition(": ")[2]
    claims = {
        "the direction is the sign's": direction is None or (direction[1] == "higher") == higher,
        "a difference that is told is none of nothing": (direction is None) == (abs(gain.value) <= steps / 2),
        "what is shown to be equal is neither better nor worse": direction is not None
        or end not in ("better", "worse even at its good end"),
        "no sign contradicts its word": "by -" not in sentence and "by +" not in sentence,
        "which side is good is said": f"({'higher' if greater else 'lower'} is better)" in sentence,
        "better is better": not re.fullmatch(r"better( by more than .*)?", end) or gain.value > null_value,
        "worse is worse": not end.startswith("worse") or gain.high < 0,
        "more likely worse is below": not end.startswith("more likely worse") or gain.value < 0,
        "more likely not better is between": not end.startswith("more likely not") or 0 <= gain.value < null_value,
        "what is not proven is ahead": "is not proven" not in end or gain.value > null_value,
        "a tie is near the border": "a tie" not in end or abs(gain.value - null_value) <= 0.005,
        "nothing is proven at its good end alone": "even at its good end" not in end or gain.high < null_value,
        "alike is alike": "alike" not in end or gain.low == gain.high,
    }
    return [claim for claim, holds in claims.items() if not holds]


@pytest.mark.parametrize("metric", tuple(Binary("late", "late").metrics))
def test_no_sentence_on_a_gain_contradicts_its_numbers(metric: str) -> None:
    """Every metric x sign x width x asked-for change x budget left or spent x rows enough or few."""
    greater, met = PROJECT.target.metrics[metric].greater_is_better, set()
    for value, width, change, analysis, positives in itertools.product(
        VALUES, WIDTHS, (0.0, 0.01, 0.05), (LEFT, SPENT), (10, 400)
    ):
        gain = off(value, value - width, value + width)
        word = superiority_outcome(Better(metric, change), gain, gate_input(analysis, positives))
        met.add(word.outcome)
        assert contradictions(word.detail, gain, change, greater) == [], word.detail
        assert (word.outcome is Outcome.PROMOTE) == bool(re.search(r": better( by more than [\d.]+)?$", word.detail))
        if word.outcome is Outcome.REJECT:
            assert word.detail.endswith("even at its good end")
    assert met == set(Outcome)


@pytest.mark.parametrize("metric", tuple(Binary("late", "late").metrics))
def test_no_sentence_on_a_margin_or_a_baseline_contradicts_its_numbers(metric: str) -> None:
    greater, words = PROJECT.target.metrics[metric].greater_is_better, []
    for value, width, margin in itertools.product(VALUES, WIDTHS, (0.0, 0.01, 0.05)):
        found = off(value, value - width, value + width)
        gain = found if greater else off(-value, -value - width, -value + width)
        words.append((not_worse(NotWorse(metric, margin), gate_input(**{metric: found})), gain))
        word = words[-1][0]
        assert ("within" in word.detail) == (word.outcome is Outcome.PROMOTE) == (-gain.low <= margin)
        assert ("even at its good end" in word.detail) == (word.outcome is Outcome.REJECT) == (-gain.high > margin)
        if metric == "roc_auc":
            words.append((beats_baseline(PROJECT.target.main, found, 1000), gain))
    for word, gain in words:
        objections = contradictions(word.detail, gain, 0.0, greater)
        assert [each for each in objections if "good end" not in each] == [], word.detail
