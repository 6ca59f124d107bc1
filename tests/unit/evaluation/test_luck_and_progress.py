"""The simulations of `make bench`, small: equally good models are not promoted, better ones are."""

from __future__ import annotations

from typing import Any

from fullcircle.core.project import ErrorBudget


def test_of_equally_good_models_at_most_alpha_are_promoted_where_the_naive_rule_promotes_half(bench: Any) -> None:
    found = bench.false_promotions(400, ErrorBudget(alpha=0.05, n_analyses=1), 1, seed=0)
    assert bench.wilson(found["gate"], 400)[0] <= 0.05
    assert found["gate"] > 0, "a gate that never promotes would hold any alpha"
    assert found["ROC AUC higher"] > 200


def test_a_year_of_weekly_retrains_adds_up_to_alpha_at_most(bench: Any) -> None:
    found = bench.false_promotions(20, ErrorBudget(alpha=0.05, n_analyses=52), 52, seed=0)
    assert found["gate"] <= 3  # 1 is expected at the very most; more than 3 of 20 come by chance in 1.6% of the cases
    assert found["ROC AUC higher"] == 20
    assert found["p below 0.05"] >= 15


def test_a_clear_gain_is_found_by_whatever_number_of_looks_the_budget_is_shared(bench: Any) -> None:
    small, clear = (bench.power(60, gain, seed=0, rows=6000) for gain in (0.004, 0.03))
    assert clear["52 a year"] >= 0.95
    assert small["52 a year"] <= small["12 a year"] <= small["1 a year"] < clear["1 a year"]
