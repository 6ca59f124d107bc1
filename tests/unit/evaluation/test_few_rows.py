"""Few rows are little evidence: intervals have a width there, cover the truth, and the gate asks for more rows."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.project import (
    AtLeast,
    Better,
    Multiclass,
    NotWorse,
    Number,
    Project,
    Regression,
    SliceGate,
)
from fullcircle.core.records.verdicts import Verdict
from fullcircle.core.statistics.binary_metrics import delong
from fullcircle.core.statistics.intervals import auc_interval, metric_interval, paired_interval, paired_mean_interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.statistics.small_samples import auc_limits, student_975, unseen_share
from fullcircle.core.tasks.binary import Binary
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.gate import judge

Make = Callable[..., Project]
STATES = Multiclass("state", classes=("a", "b", "c"))


def disambiguated(rows: int, positives: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows that a model tells apart without a mistake, and its answers."""
    labels = np.array([1] * positives + [0] * (rows - positives), dtype="int8")
    spread = np.linspace(0, 0.1, rows).astype("float32")
    frame = pd.DataFrame({"late": labels, "origin": "EWR", "distance": 1.0})
    return frame, np.where(labels == 1, 0.85, 0.05).astype("float32") + spread


def judged(project: Project, frame: pd.DataFrame, challenger: np.ndarray, champion: np.ndarray | None) -> Verdict:
    mean = np.full(len(frame), frame["late"].mean(), dtype="float32")
    return judge(
        project,
        frame,
        challenger=challenger,
        baseline=mean,
        champion=champion,
        champion_version=None if champion is None else "2",
        evaluation=evaluate(project, "torch", frame, challenger),
        candidate=None,
    )


def test_a_first_champion_without_a_mistake_on_28_rows_waits_for_more_rows(make_project: Make) -> None:
    frame, perfect = disambiguated(28, 14)
    project = make_project(gates=(AtLeast("roc_auc", 0.55),))
    auc = evaluate(project, "torch", frame, perfect).metrics["roc_auc"]
    assert (auc.value, auc.high) == (1.0, 1.0) and 0.8 < auc.low < 0.9
    got = judged(project, frame, perfect, None)
    assert (got.outcome, got.rows_needed) == (Outcome.INCONCLUSIVE, 40)
    assert got.reasons == ("only 14 rows of one class among 28 test rows: a verdict takes 20 of each",)


@pytest.mark.parametrize(("rows", "positives"), [(28, 1), (28, 27), (2, 1), (3000, 5)])
def test_the_fewer_of_the_two_classes_counts(make_project: Make, rows: int, positives: int) -> None:
    frame, perfect = disambiguated(rows, positives)
    for champion in (None, np.full(rows, 0.5, dtype="float32")):
        got = judged(make_project(gates=()), frame, perfect, champion)
        assert got.outcome is Outcome.INCONCLUSIVE and got.rows_needed is not None and got.rows_needed > rows


def test_many_rows_told_apart_are_evidence(make_project: Make) -> None:
    frame, perfect = disambiguated(400, 200)
    project = make_project(gates=(AtLeast("roc_auc", 0.9), NotWorse("log_loss", 0.01), Better("roc_auc")))
    assert judged(project, frame, perfect, None).outcome is Outcome.PROMOTE
    got = judged(project, frame, perfect, np.full(400, 0.5, dtype="float32"))
    assert got.outcome is Outcome.PROMOTE
    assert got.against["roc_auc"].low < 0.5, "also a difference of 0.5 on every row is known to a width"


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.999])
def test_on_few_rows_a_threshold_is_reached_or_missed_by_the_whole_interval(
    make_project: Make, threshold: float
) -> None:
    frame, answers = disambiguated(60, 30)
    project = make_project(gates=(AtLeast("roc_auc", threshold),))
    for probability in (answers, 1 - answers):
        auc = evaluate(project, "torch", frame, probability).metrics["roc_auc"]
        gate = judged(project, frame, probability, None).gates[-1]
        if auc.low >= threshold:
            assert gate.passed
        elif auc.high < threshold:
            assert not gate.passed and gate.rows_needed is None and "is not at least" in gate.detail
        else:
            assert not gate.passed and gate.rows_needed is not None and "may or may not be at least" in gate.detail


def test_two_models_that_are_both_right_on_few_rows_are_not_told_apart(make_project: Make) -> None:
    frame, perfect = disambiguated(60, 30)
    other = perfect.copy() * np.float32(0.9)
    got = judge(
        make_project(gates=()), frame, challenger=perfect, baseline=other, champion=other, champion_version="2",
        evaluation=evaluate(make_project(gates=()), "torch", frame, perfect), candidate=None,
    )  # fmt: skip
    assert got.outcome is Outcome.INCONCLUSIVE, "neither better than the baseline nor no better than it"
    assert got.against["roc_auc"].low < 0 < got.against["roc_auc"].high


@pytest.mark.parametrize("rows", [28, 60])
def test_numbers_without_an_error_on_few_rows_are_not_said_to_be_without_one(rows: int) -> None:
    """Neither of a model, nor of the difference of two, of which one is off by the same everywhere."""
    y = np.random.default_rng(0).normal(50, 10, rows)
    perfect = y.astype("float32")
    task = Regression("y", loss="quantile", unit="rentals")
    for metric in task.metrics.values():
        answers = np.stack([perfect, perfect - 1, perfect + 1], axis=1)
        found = metric.interval(y, answers, 1)
        assert found.high - found.low > 1e-3 * abs(found.high), metric.name
        if metric.name not in ("coverage", "interval_width"):
            off_by_one = metric.difference(y, answers, answers + 1, 1)
            assert off_by_one.high - off_by_one.low > 1e-3, metric.name
    for metric in Regression("y").metrics.values():
        alike = metric.difference(y, perfect, perfect + np.float32(1e-5), 1)
        assert rows < 50 or alike.high - alike.low < 1e-4, "two that answer alike on many rows do not differ"


def test_a_first_champion_without_an_error_on_28_rows_waits_for_more_rows() -> None:
    """Where one row in eight may be of a kind that was not seen, the root mean squared error may be anything."""
    y = np.random.default_rng(0).normal(50, 10, 28)
    project = Project(
        name="bikes", owner="o", columns=(Number("x"),), target=Regression("y"), time="t", row_id="i",
        torch=lambda inputs, params: None, gates=(AtLeast("rmse", 5.0),),
    )  # fmt: skip
    frame, answers = pd.DataFrame({"y": y, "x": 1.0}), y.astype("float32")
    got = judge(
        project, frame, challenger=answers, baseline=np.full_like(answers, y.mean()), champion=None,
        champion_version=None, evaluation=evaluate(project, "torch", frame, answers), candidate=None,
    )  # fmt: skip
    assert got.outcome is Outcome.INCONCLUSIVE
    assert got.rows_needed is not None and got.rows_needed > 28


@pytest.mark.parametrize(("rows", "of_c", "apart"), [(1000, 20, 2.0), (1000, 20, 3.0), (3000, 25, 4.0)])
def test_the_area_of_a_rare_class_is_held_as_often_as_its_interval_says(rows: int, of_c: int, apart: float) -> None:
    """However many rows there are of the other classes: by the normal limit it was 66% to 89%."""
    draw, metrics, truth = np.random.default_rng(1), STATES.metrics, NormalDist().cdf(apart / 2**0.5)
    held = []
    for _ in range(60):
        y = draw.integers(0, 2, rows)
        y[:of_c] = 2
        c = 1 / (1 + np.exp(2 - draw.normal(size=rows) - apart * (y == 2)))
        a = (1 - c) * np.where(y == 0, 0.7, 0.3)
        answers = np.stack([a, 1 - a - c, c], axis=1).astype("float32")
        found = metrics["roc_auc.c"].interval(y, answers, None)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("metric", ["roc_auc", "roc_auc.c", "macro_f1"])
def test_a_rare_class_without_a_mistake_is_no_proof_however_many_rows_the_others_have(metric: str) -> None:
    y = np.arange(3000) % 2
    y[:20] = 2
    perfect = np.eye(3)[y].astype("float32")
    few, base = STATES.metrics[metric].interval(y, perfect, 1), np.full_like(perfect, 1 / 3)
    many = STATES.metrics[metric].interval(np.arange(3000) % 3, np.eye(3)[np.arange(3000) % 3].astype("float32"), 1)
    assert few.low < 0.985 < 0.99 < many.low
    gain = STATES.metrics[metric].difference(y, perfect, base, 1)
    assert gain.low < gain.value - 0.02
    nothing = STATES.metrics["roc_auc.c"].interval(np.where(np.arange(300) == 0, 2, y[20:320]), perfect[:300], 1)
    assert nothing.low <= 0.0 or nothing.high >= 1.0


def test_rows_that_were_delivered_many_times_are_judged_once(make_project: Make) -> None:
    frame, perfect = disambiguated(28, 14)
    frame["distance"] = np.arange(28.0)
    frame["time"] = pd.date_range("2013-04-01", periods=28, freq="h", tz="UTC")
    many = pd.concat([frame] * 20, ignore_index=True).assign(row_id=[f"r{n}" for n in range(560)])
    project, answers = make_project(gates=(AtLeast("roc_auc", 0.55),)), np.tile(perfect, 20)
    got = judged(project, many, answers, None)
    assert (got.outcome, got.rows, got.rows_needed) == (Outcome.INCONCLUSIVE, 28, 40)
    assert got.gates[0].detail == "532 of 560 test rows are copies of another one, which is judged once"
    once = judged(project, frame, perfect, 1 - perfect)
    assert judged(project, many, answers, 1 - answers).against == once.against


def test_rows_that_look_alike_are_no_copies(make_project: Make) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "late": (rng.random(600) < 0.3).astype("int8"),
            "origin": rng.choice(["EWR", "JFK"], 600),
            "distance": 1.0,
            "time": pd.Timestamp("2013-04-01", tz="UTC"),
        }
    )
    assert judged(make_project(gates=()), frame, rng.random(600).astype("float32"), None).rows == 600


def test_a_slice_that_nobody_could_look_at_is_not_said_to_hold(make_project: Make) -> None:
    frame, perfect = disambiguated(150, 75)
    project = make_project(gates=(SliceGate("origin", "roc_auc", drop=0.03),))
    gate = next(g for g in judged(project, frame, perfect, 1 - perfect).gates if "origin" in g.gate)
    assert (gate.passed, gate.rows_needed) == (False, 200)
    assert judged(project, frame, perfect, None).outcome is Outcome.PROMOTE, "nothing to fall below"


def test_a_slice_with_two_positive_rows_does_not_reject_by_a_width_of_nothing(make_project: Make) -> None:
    labels = np.array([1] * 2 + [0] * 298 + [1] * 300 + [0] * 300, dtype="int8")
    frame = pd.DataFrame({"late": labels, "origin": ["LGA"] * 300 + ["EWR"] * 600, "distance": 1.0})
    rng = np.random.default_rng(0)
    champion = np.clip(np.where(labels == 1, 0.6, 0.4) + rng.normal(0, 0.2, 900), 0, 1)
    challenger = np.clip(np.where(labels == 1, 0.7, 0.3) + rng.normal(0, 0.1, 900), 0, 1)
    champion[:300], challenger[:300] = np.where(labels[:300] == 1, 0.9, 0.1), np.where(labels[:300] == 1, 0.55, 0.5)
    challenger[2:20] = 0.56  # 18 of 298 above both positive rows: delong's error is that of the negatives alone
    assert delong(labels[:300], champion[:300], challenger[:300]).low > 0.03
    got = judged(make_project(gates=(SliceGate("origin", "roc_auc", drop=0.03),)), frame, challenger, champion)
    assert got.outcome is Outcome.PROMOTE


ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=90)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_no_interval_of_few_rows_is_without_a_width_or_outside_of_what_there_is(
    rows: list[tuple[bool, int, int]],
) -> None:
    """Ties, constant answers, 0 and 1, identical models, a single row of a class."""
    labels = np.array([row[0] for row in rows], dtype="int8")
    if not 0 < labels.sum() < len(labels):
        return
    a, b = (np.array([row[column] / 4 for row in rows]) for column in (1, 2))
    for name, metric in Binary("late", "late").metrics.items():
        for found in (
            metric.interval(labels, a, 0),
            metric.difference(labels, a, b, 0),
            metric.difference(labels, a, a, 0),
        ):
            if min(labels.sum(), len(labels) - labels.sum()) < 50:
                assert found.low < found.high, name
            assert found.low <= found.value <= found.high
            assert np.isfinite((found.low, found.high)).all() or len(rows) < 2
        assert metric.interval(labels, a, 0).low >= 0
    assert auc_interval(labels, a, b).low >= -1 and auc_interval(labels, a).high <= 1


@pytest.mark.parametrize(
    "rows", [pytest.param(10, marks=pytest.mark.nightly), 28, pytest.param(60, marks=pytest.mark.nightly), 200]
)
def test_intervals_of_few_rows_hold_the_truth_as_often_as_they_say(bench: Any, rows: int) -> None:
    """95% less three standard errors of 80 draws; `tests/benchmarks/gates.py` has the table."""
    found = bench.coverage(rows, 0.98 if rows > 28 else 0.8, 80, seed=rows)
    assert min(share for name, share in found.items() if name != "DeLong") >= 0.88, found


def test_limits_are_those_of_the_papers() -> None:
    # Newcombe 2006, part 2: method 5 solves |seen - true| = z * error(true).
    low, high = auc_limits(0.8, 20, 30)
    for true in (low, high):
        spread = 1 + 24 * ((1 - true) / (2 - true) + true / (1 + true))
        assert abs(0.8 - true) == pytest.approx(1.959964 * (true * (1 - true) * spread / 600) ** 0.5, abs=1e-6)
    assert auc_limits(1.0, 1, 500) == (0.0, 1.0)
    # Clopper & Pearson at 0 of 28; Student's t of 9 and 27 degrees of freedom.
    assert unseen_share(28) == pytest.approx(0.1234, abs=1e-4)
    assert (student_975(9), student_975(27)) == pytest.approx((2.2622, 2.0518), abs=2e-3)


def test_with_many_rows_the_intervals_are_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(1000) < 0.25).astype("int8")
    a, b = rng.random(1000), rng.random(1000)
    assert auc_interval(labels, a, b) == delong(labels, a, b)
    from fullcircle.core.statistics import binary_metrics
    from fullcircle.core.statistics.binary_metrics import bootstrap, paired_bootstrap, paired_means

    for name in ("log_loss", "brier", "calibration_error"):
        metric = getattr(binary_metrics, name)
        assert paired_interval(labels, a, b, metric, seed=1) == paired_bootstrap(labels, a, b, metric, seed=1)
        assert metric_interval(labels, a, metric, seed=1) == bootstrap(labels, a, metric, seed=1)
        if name != "calibration_error":
            assert paired_mean_interval(labels, a, b, metric) == paired_means(labels, a, b, metric)
