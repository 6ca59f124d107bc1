"""Drift: distances, and thresholds that hold their false alarms at any size of window."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from fullcircle.core.project import Category, Number, Project
from fullcircle.core.records.health import ColumnDrift
from fullcircle.monitoring.drift import column_drift
from fullcircle.monitoring.drift_metrics import Resamples, jensen_shannon, js_of_counts, null_wasserstein, wasserstein
from fullcircle.monitoring.prediction_drift import prediction_drift
from fullcircle.monitoring.samples import null_quantile

Rows = Callable[..., pd.DataFrame]


def by_column(found: tuple[ColumnDrift, ...]) -> dict[str, ColumnDrift]:
    return {drift.column: drift for drift in found}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=50), st.lists(st.integers(0, 6), min_size=1, max_size=50))
def test_jensen_shannon_is_that_of_scipy(a: list[int], b: list[int]) -> None:
    shares = [np.bincount(side, minlength=7) / len(side) for side in (a, b)]
    expected = jensenshannon(*shares)
    got = jensen_shannon(np.array(a).astype(str).astype(object), np.array(b).astype(str).astype(object))
    assert got == pytest.approx(0.0 if np.isnan(expected) else expected, abs=1e-7)


def test_wasserstein_is_that_of_scipy_in_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, 3000), rng.uniform(0.1, 1, 2000)
    low, high = np.quantile(a, [0.005, 0.995])
    a, b = np.clip(a, low, high), np.clip(b, low, high)
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b) / a.std())


@pytest.mark.parametrize("in_reference", [True, False])
def test_one_outlier_neither_raises_an_alarm_nor_hides_a_shift(in_reference: bool) -> None:
    rng = np.random.default_rng(0)
    before, same, moved = rng.normal(0, 1, 5000), rng.normal(0, 1, 5000), rng.normal(3, 1, 5000)
    (before if in_reference else same)[0] = 1e6
    if not in_reference:
        moved[0] = 1e6
    assert wasserstein(before, same) < 0.1
    assert wasserstein(before, moved) > 1.0


def test_a_nearly_constant_number_is_not_clipped_away() -> None:
    before, now = np.zeros(1000), np.zeros(1000)
    before[0], now[:100] = 1.0, 1.0
    assert wasserstein(before, now) > 1.0


def test_the_resampled_distances_are_those_of_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    pool = rng.gamma(2, 1, 20_000)
    draws = Resamples.of(20_000, 500, 300, n_resamples=200, seed=1)
    exact = [wasserstein(pool[a], pool[b]) for a, b in zip(draws.reference, draws.current, strict=True)]
    resampled = null_wasserstein(pool, pool, draws)
    assert np.quantile(resampled, [0.5, 0.95]) == pytest.approx(np.quantile(exact, [0.5, 0.95]), rel=0.05)


def test_the_border_lets_its_share_through() -> None:
    assert np.mean(np.arange(1000.0) > null_quantile(np.arange(1000.0), 0.01)) == pytest.approx(0.01, abs=0.0015)
    assert null_quantile(np.zeros(500), 0.01) > 0


@pytest.mark.parametrize("rows", [50, 1500])
def test_without_drift_a_column_is_flagged_about_as_often_as_allowed(
    project: Project, make_rows: Rows, rows: int
) -> None:
    project = dataclasses.replace(project, watch=dataclasses.replace(project.watch, false_alarms=0.05))
    flagged = [
        drift.drifted
        for seed in range(30)
        for drift in column_drift(project, make_rows(rows, seed=1000 + seed), make_rows(3000, seed=seed), seed=seed)
    ]
    assert len(flagged) == 120
    # 0.05 and 4 standard errors of 120 looks
    assert np.mean(flagged) <= 0.13


def test_a_shift_of_a_third_of_a_deviation_is_seen_in_200_rows(project: Project, make_rows: Rows) -> None:
    reference, seen = make_rows(4000), 0
    for seed in range(10):
        current = make_rows(200, seed=50 + seed)
        current["distance"] += np.float32(0.35 * reference["distance"].std())
        seen += by_column(column_drift(project, current, reference, seed=seed))["distance"].drifted
    assert seen >= 9


def test_every_input_is_judged_and_nothing_known_only_afterwards(project: Project, make_rows: Rows) -> None:
    found = column_drift(project, make_rows(500), make_rows(2000, seed=1))
    assert [drift.column for drift in found] == ["distance", "gust", "origin", "carrier"]


def test_more_missing_values_are_drift_of_the_column(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(1000), make_rows(5000, seed=1)
    current.loc[:899, "gust"] = np.nan
    gust = by_column(column_drift(project, current, reference))["gust"]
    assert gust.drifted
    assert gust.method == "missing"


def test_a_column_that_lost_all_its_values_drifted(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(1000), make_rows(5000, seed=1)
    current["gust"], current["carrier"] = np.float32("nan"), ""
    found = by_column(column_drift(project, current, reference))
    assert found["gust"].method == "missing" and found["gust"].drifted
    assert found["carrier"].drifted


def test_one_gap_in_a_column_that_never_had_any_is_no_drift(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(3000), make_rows(5000, seed=1)
    current.loc[0, "distance"] = np.nan
    assert not by_column(column_drift(project, current, reference))["distance"].drifted


def test_a_constant_column_does_not_drift_until_it_changes(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(500), make_rows(5000, seed=1)
    current["distance"], reference["distance"] = np.float32(7), np.float32(7)
    assert not by_column(column_drift(project, current, reference))["distance"].drifted
    current.loc[:200, "distance"] = np.float32(8)
    assert by_column(column_drift(project, current, reference))["distance"].drifted


def test_categories_that_hardly_ever_repeat_do_not_drift_by_themselves(project: Project) -> None:
    project = dataclasses.replace(project, columns=(Category("tail"),), slices=())
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"tail": rng.integers(0, 50_000, rows).astype(str)}) for rows in (500, 6_000)]
    assert not column_drift(project, frames[0], frames[1])[0].drifted


def test_new_categories_are_drift(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(500), make_rows(5000, seed=1)
    current.loc[:99, "carrier"] = "ZZ"
    carrier = by_column(column_drift(project, current, reference))["carrier"]
    assert carrier.drifted and carrier.method == "jensenshannon"


def test_infinite_values_do_not_break_the_distance(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(500), make_rows(5000, seed=1)
    current.loc[0, "distance"] = np.inf
    assert np.isfinite(by_column(column_drift(project, current, reference))["distance"].distance)


def test_the_same_seed_gives_the_same_verdicts(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(6000), make_rows(8000, seed=1)
    assert column_drift(project, current, reference, seed=3) == column_drift(project, current, reference, seed=3)


def test_nothing_to_compare_gives_nothing(project: Project, make_rows: Rows) -> None:
    assert column_drift(project, make_rows(0), make_rows(500)) == ()
    assert prediction_drift(np.array([], dtype="float32"), np.array([0.5], dtype="float32")) is None


def test_predictions_that_moved_drifted(make_rows: Rows) -> None:
    before, same = make_rows(5000)["probability"].to_numpy(), make_rows(800, seed=1)["probability"].to_numpy()
    quiet, moved = prediction_drift(same, before), prediction_drift(np.sqrt(same), before)
    assert quiet is not None and not quiet.drifted
    assert moved is not None and moved.drifted and moved.column == "prediction"


_COUNTS = st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any)


@settings(max_examples=50, deadline=None)
@given(_COUNTS, _COUNTS)
def test_jensen_shannon_is_a_symmetric_distance_of_at_most_root_log_two(a: list[int], b: list[int]) -> None:
    first, second = np.array([a]), np.array([b])
    forth, back = js_of_counts(first, second)[0], js_of_counts(second, first)[0]
    assert forth == pytest.approx(back)
    assert 0 <= forth <= np.sqrt(np.log(2)) + 1e-12
    assert js_of_counts(first, first)[0] == pytest.approx(0, abs=1e-7)


def test_numbers_and_categories_are_told_apart_by_the_project_not_by_their_values(project: Project) -> None:
    project = dataclasses.replace(project, columns=(Category("gate"), Number("gate_number")), slices=())
    frame = pd.DataFrame({"gate": [1, 2] * 100, "gate_number": [1, 2] * 100})
    assert [drift.method for drift in column_drift(project, frame, frame)] == ["jensenshannon", "wasserstein"]
