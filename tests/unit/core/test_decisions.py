"""Decisions: the metrics are scikit-learn's, their error is what repetition shows, and the threshold costs least."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.tasks import Binary, Costs, Link, Weighting

LATE = Binary("late", "arrived late")
STRICT = Binary("late", "arrived late", threshold=0.3)
DEAR = Binary("late", "arrived late", threshold=Costs(false_positive=1.0, false_negative=5.0))

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=8, max_size=60).filter(
    lambda rows: 0 < sum(positive for positive, _ in rows) < len(rows)
)


def drawn(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.2).astype(np.int8)
    return y, (1 / (1 + np.exp(-random.normal(1.5 * y - 1, 1)))).round(2).astype(np.float32)


@given(rows=ROWS)
def test_the_metrics_of_decisions_are_those_that_scikit_learn_knows_ties_included(rows: list[tuple[bool, int]]) -> None:
    y = np.array([positive for positive, _ in rows]).astype(np.int8)
    p = np.array([level / 20 for _, level in rows], dtype=np.float32)
    found = {name: LATE.metrics[name].value(y, p) for name in ("pr_auc", "precision", "recall", "f1")}
    said = p >= 0.5
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(y, p))
    assert found["precision"] == pytest.approx(reference.precision_score(y, said, zero_division=0))
    assert found["recall"] == pytest.approx(reference.recall_score(y, said))
    assert found["f1"] == pytest.approx(reference.f1_score(y, said, zero_division=0))


@pytest.mark.parametrize("name", ["pr_auc", "precision", "recall", "f1"])
def test_the_standard_error_of_each_is_the_spread_that_repetition_shows(name: str) -> None:
    metric, values, errors = LATE.metrics[name], [], []
    for seed in range(300):
        y, p = drawn(seed)
        rows = metric.per_row(y, p)  # type: ignore[misc]
        values.append(metric.value(y, p))
        errors.append(rows.std() / np.sqrt(len(rows)))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


@given(rows=ROWS, wrong_no=st.floats(0.1, 10))
def test_no_other_threshold_would_have_cost_less_on_the_rows_that_chose_it(
    rows: list[tuple[bool, int]], wrong_no: float
) -> None:
    y, p = np.array([positive for positive, _ in rows]), np.array([level / 20 for _, level in rows])
    costs = Costs(false_negative=wrong_no)
    chosen = costs.cheapest(y, p)
    paid = [costs.rows(y, (p >= line).astype(float)).mean() for line in (chosen, *np.linspace(-0.01, 1.01, 103))]
    assert paid[0] == pytest.approx(min(paid))


def test_where_every_yes_is_too_dear_nothing_is_said_yes_to_not_even_certainty() -> None:
    y, p = np.array([0, 0, 0, 1]), np.array([0.2, 0.5, 1.0, 0.1])
    assert not (p >= Costs(false_positive=9.0).cheapest(y, p)).any()


def test_of_calibrated_probabilities_the_threshold_is_where_theory_has_it() -> None:
    random = np.random.default_rng(1)
    p = random.random(200_000)
    y = random.random(200_000) < p
    assert Costs(false_positive=1.0, false_negative=4.0).cheapest(y, p) == pytest.approx(0.2, abs=0.02)


def test_a_project_that_draws_a_line_answers_with_a_decision_beside_the_same_probability() -> None:
    y, p = drawn(0)
    assert (LATE.answers.numbers, STRICT.answers.numbers) == (("probability",), ("probability", "decision"))
    both = np.stack([p, p >= 0.3], axis=1).astype(np.float32)
    for name in ("roc_auc", "log_loss", "brier", "calibration_error", "pr_auc"):
        assert STRICT.metrics[name].interval(y, both, 1) == LATE.metrics[name].interval(y, p, 1)
        assert STRICT.metrics[name].test(y, both, both[::-1], 1) == LATE.metrics[name].test(y, p, p[::-1], 1)
    assert STRICT.metrics["recall"].value(y, both) == pytest.approx(reference.recall_score(y, p >= 0.3))
    assert STRICT.metrics["recall"].value(y, both) > LATE.metrics["recall"].value(y, p)
    assert "cost" not in STRICT.metrics
    dear = DEAR.metrics["cost"].value(y, both)
    assert dear == pytest.approx((5 * (y * (p < 0.3)) + (1 - y) * (p >= 0.3)).mean())


def test_a_decision_on_the_edge_of_its_threshold_is_no_difference_of_two_graphs() -> None:
    one, other = np.array([[0.3, 1.0]], dtype=np.float32), np.array([[0.29999998, 0.0]], dtype=np.float32)
    assert STRICT.answers.largest_difference(one, other) < 1e-6
    assert STRICT.answers.largest_difference(one, np.array([[0.3, np.nan]], dtype=np.float32)) == np.inf


def test_costs_choose_the_threshold_of_a_model_by_its_answers_and_a_fixed_one_stays() -> None:
    y, p = drawn(3, rows=4000)
    both = np.stack([p, p], axis=1)
    link = DEAR.link(y, Weighting())
    assert (link.name, link.threshold, link.numbers) == ("sigmoid_decision", 0.5, 2)
    assert DEAR.settled(link, y, both).threshold == Costs(1.0, 5.0).cheapest(y, p) < 0.4
    assert STRICT.settled(STRICT.link(y, Weighting()), y, both).threshold == 0.3
    assert LATE.link(y, Weighting()) == Link(name="sigmoid", offset=(-0.0,))


@pytest.mark.parametrize("line", [0.0, 1.0, -1, 2, "0.5", True, 1 - 1e-16, 1e-50, (1, 5)])
def test_a_line_that_divides_nothing_is_refused(line: object) -> None:
    with pytest.raises(ProjectInvalid, match=r"target 'late'\.threshold must be a number from .* or a Costs or null"):
        Binary("late", "arrived late", threshold=line)  # type: ignore[arg-type]
