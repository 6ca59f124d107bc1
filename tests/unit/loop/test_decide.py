"""`decide` is a pure function: what it answers for which health, policy and memory."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.project import Policy
from fullcircle.core.records.health import (
    ColumnDrift,
    Health,
    Keep,
    Performance,
    PolicyState,
    Retrain,
    Rollback,
    Window,
)
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks import Regression
from fullcircle.core.tasks.binary import ROC_AUC
from fullcircle.loop.decide import decide, refusal

NOW = datetime(2013, 7, 1, tzinfo=UTC)
POLICY = Policy(
    tolerated_drop=0.02,
    cooldown=timedelta(days=20),
    max_retrains=2,
    budget_window=timedelta(days=365),
    rollback_margin=0.02,
)


def around(value: float, width: float = 0.01) -> Interval:
    return Interval(value=value, low=value - width, high=value + width)


def health(
    *,
    auc: float | None = 0.70,
    expected: float | None = 0.70,
    previous_gain: Interval | None = None,
    drifted: int = 0,
    enough_rows: bool = True,
) -> Health:
    performance = (
        None
        if auc is None
        else Performance.by(
            ROC_AUC,
            rows=1000,
            summary={"positives": 200},
            metrics={"roc_auc": around(auc), "log_loss": around(0.5), "brier": around(0.16)},
            expected=expected,
            previous_gain=previous_gain,
        )
    )
    columns = tuple(
        ColumnDrift(column=f"c{i}", method="wasserstein", distance=2.0 if i < drifted else 0.1, threshold=1.0)
        for i in range(10)
    )
    window = Window(
        project="p", start=datetime(2013, 6, 1, tzinfo=UTC), end=NOW, rows=1000, labelled=1000, versions=("2",)
    )
    return Health(
        window=window,
        champion_version="2",
        columns=columns,
        prediction=None,
        quality=(),
        performance=performance,
        drifted_share_limit=0.5,
        enough_rows=enough_rows,
    )


def test_a_model_that_holds_what_the_gate_measured_is_kept_while_few_columns_drift() -> None:
    decision = decide(health(auc=0.695, drifted=4), POLICY, PolicyState())
    assert decision == Keep(reason="realised ROC AUC 0.695 is within tolerance")


def test_a_drifted_window_asks_for_a_retrain_while_performance_holds_if_the_policy_says_so() -> None:
    seen = health(auc=0.695, drifted=5)
    retrain = Retrain(reason="5 of 10 columns drifted, although a realised ROC AUC of 0.695 is within tolerance")
    assert decide(seen, POLICY, PolicyState()) == retrain
    strict = dataclasses.replace(POLICY, on_drift=False)
    assert decide(seen, strict, PolicyState()) == Keep(reason="realised ROC AUC 0.695 is within tolerance")


def test_performance_without_a_figure_from_the_release_is_not_said_to_hold() -> None:
    unknown = "cannot be held against anything: no figure is known from the release"
    seen = health(auc=0.695, drifted=5)
    assert seen.performance is not None
    seen = dataclasses.replace(seen, performance=dataclasses.replace(seen.performance, expected=None))
    reason = f"5 of 10 columns drifted, although a realised ROC AUC of 0.695 {unknown}"
    assert decide(seen, POLICY, PolicyState()) == Retrain(reason=reason)
    strict = dataclasses.replace(POLICY, on_drift=False)
    assert decide(seen, strict, PolicyState()) == Keep(reason=f"realised ROC AUC 0.695 {unknown}")


def test_a_fall_below_the_tolerance_asks_for_a_retrain_and_says_how_far_it_fell() -> None:
    decision = decide(health(auc=0.65), POLICY, PolicyState())
    assert isinstance(decision, Retrain)
    assert "0.050 below the 0.700 measured at release" in decision.reason


@pytest.mark.parametrize(("gain", "rolls_back"), [(0.5, False), (3.0, True)])
def test_an_error_with_a_unit_is_rolled_back_for_a_share_of_it_not_for_hundredths_of_its_unit(
    gain: float, rolls_back: bool
) -> None:
    mae = Regression("count", unit="rentals").main
    performance = Performance.by(
        mae,
        rows=1000,
        summary={},
        metrics={"mae": around(50.0)},
        expected=50.0,
        previous_gain=around(gain, 0.1),
    )
    seen = dataclasses.replace(health(), performance=performance)
    found = decide(seen, POLICY, PolicyState(previous_version="1"))
    assert isinstance(found, Rollback) == rolls_back
    if rolls_back:
        assert "has a mean absolute error 3.0" in found.reason
        assert "lower on the same 1000 labelled rows" in found.reason


def test_without_labels_a_drifted_window_asks_for_a_retrain() -> None:
    decision = decide(health(auc=None, drifted=5), POLICY, PolicyState())
    assert decision == Retrain(reason="5 of 10 columns drifted and no labels are known yet")


def test_without_labels_a_window_below_the_drift_limit_is_kept() -> None:
    decision = decide(health(auc=None, drifted=4), POLICY, PolicyState())
    assert isinstance(decision, Keep)


def test_a_window_that_is_too_small_is_never_acted_upon() -> None:
    decision = decide(health(auc=0.5, drifted=10, enough_rows=False), POLICY, PolicyState())
    assert isinstance(decision, Keep)


def test_a_previous_champion_that_is_credibly_better_gets_the_traffic_back() -> None:
    better = health(auc=0.60, previous_gain=Interval(value=0.05, low=0.03, high=0.07))
    decision = decide(better, POLICY, PolicyState(previous_version="1"))
    assert isinstance(decision, Rollback)
    assert decision.to == "1"


def test_a_previous_champion_that_is_better_by_luck_does_not() -> None:
    lucky = health(auc=0.60, previous_gain=Interval(value=0.05, low=0.01, high=0.09))
    assert isinstance(decide(lucky, POLICY, PolicyState(previous_version="1")), Retrain)


def test_the_cooldown_holds_a_retrain_back() -> None:
    decision = decide(health(auc=0.6), POLICY, PolicyState(retrains=(NOW - timedelta(days=5),)))
    assert isinstance(decision, Keep)
    assert "the last retrain was 5 days ago" in decision.reason


def test_a_clock_that_was_set_back_refills_no_budget_and_ends_no_cooldown() -> None:
    """What was spent at a time that is still to come was spent all the same."""
    ahead = [NOW + timedelta(hours=2)]
    policy = Policy(max_retrains=1, cooldown=timedelta(0))
    assert refusal(NOW, policy, ahead) == "the budget of 1 retrains in 365 days is spent"
    policy = Policy(max_retrains=5, cooldown=timedelta(days=3))
    assert refusal(NOW, policy, ahead) == "the last retrain was 0 days ago (cooldown: 3)"


def test_the_budget_holds_a_retrain_back() -> None:
    spent = PolicyState(retrains=(NOW - timedelta(days=100), NOW - timedelta(days=50)))
    decision = decide(health(auc=0.6), POLICY, spent)
    assert isinstance(decision, Keep)
    assert "the budget of 2 retrains" in decision.reason


@given(
    auc=st.floats(0.4, 0.99),
    worse_by=st.floats(0.0, 0.3),
    drifted=st.integers(0, 10),
    retrains=st.lists(st.integers(0, 400), max_size=4),
)
def test_a_worse_window_never_asks_for_less(auc: float, worse_by: float, drifted: int, retrains: list[int]) -> None:
    state = PolicyState(retrains=tuple(NOW - timedelta(days=days) for days in retrains))
    before = decide(health(auc=auc, expected=0.7, drifted=drifted), POLICY, state)
    after = decide(health(auc=auc - worse_by, expected=0.7, drifted=drifted), POLICY, state)
    if isinstance(before, Retrain):
        assert isinstance(after, Retrain)


@given(days=st.lists(st.integers(0, 800), max_size=60), auc=st.floats(0.3, 0.9))
def test_no_policy_spends_more_than_its_budget(days: list[int], auc: float) -> None:
    """Wherever the clock is set meanwhile: the days are in no order."""
    done: list[datetime] = []
    for day in days:
        end = NOW + timedelta(days=day)
        seen = health(auc=auc, expected=0.9)
        moved = Window(project="p", start=end - timedelta(days=28), end=end, rows=1000, labelled=1000, versions=("2",))
        seen = Health(**{**{f: getattr(seen, f) for f in seen.__dataclass_fields__}, "window": moved})
        if isinstance(decide(seen, POLICY, PolicyState(retrains=tuple(done))), Retrain):
            done.append(end)
    for end in done:
        year = [at for at in done if end - POLICY.budget_window < at <= end]
        assert len(year) <= POLICY.max_retrains
        assert all(abs((one - other).days) >= POLICY.cooldown.days for one in year for other in year if one != other)
