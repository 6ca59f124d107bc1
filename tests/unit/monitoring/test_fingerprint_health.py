"""A large window is judged by its fingerprints as it would be by its rows, and each version by its own answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy.stats import wasserstein_distance

from fullcircle.core.project import Category, Multiclass, Number, Project
from fullcircle.core.records.health import Health, Window
from fullcircle.monitoring import drift_metrics
from fullcircle.monitoring.drift_metrics import Resamples, clip_limits, null_wasserstein, wasserstein
from fullcircle.monitoring.fingerprint_drift import BRIDGES, bridges, null_wasserstein_of_bridges
from fullcircle.monitoring.health import assess_fingerprints, assess_window, needs_rows
from fullcircle.monitoring.samples import null_quantile
from fullcircle.predictions.fingerprints.build import fingerprints_of
from fullcircle.predictions.fingerprints.contract import contract_of
from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint

Rows = Callable[..., pd.DataFrame]
Windows = Callable[[pd.DataFrame], Window]
LARGE, PARTS = 60_000, 6


def prints(project: Project, rows: pd.DataFrame) -> dict[str, LogFingerprint]:
    """The fingerprints of rows that were sealed in several segments."""
    times = pa.array(np.arange(len(rows))).cast(pa.timestamp("us", tz="UTC"))
    ids = pa.array([str(number) for number in range(len(rows))])
    version = rows["model_version"] if "model_version" in rows else ["3"] * len(rows)
    own = {"prediction_id": ids, "row_id": ids, "event_time": times, "logged_at": times, "model_version": version}
    table = pa.table({**own, **{name: rows[name] for name in rows if name not in own}})
    found: dict[str, LogFingerprint] = {}
    bounds = np.linspace(0, len(rows), PARTS + 1).astype(int)
    for first, last in pairwise(bounds.tolist()):
        for name, each in fingerprints_of(table.slice(first, last - first), contract_of(project)).items():
            found[name] = found[name] + each if name in found else each
    return found


def both(project: Project, rows: pd.DataFrame, reference: pd.DataFrame, window: Window) -> tuple[Health, Health]:
    """What is found (by the rows, by the fingerprints)."""
    by_rows = assess_window(project, window, rows, reference, champion_version="3", expected=0.7)
    seen = prints(project, rows)
    return by_rows, assess_fingerprints(project, window, seen, rows, reference, champion_version="3", expected=0.7)


def test_by_fingerprints_a_large_window_has_the_verdicts_of_its_rows(
    project: Project, make_rows: Rows, make_window: Windows
) -> None:
    rows, reference = make_rows(LARGE), make_rows(10_000, seed=1)
    rows["distance"] *= 1.609  # miles to km
    rows.loc[rows.index[::9], "gust"] = np.nan
    rows.loc[rows.index[::40], "carrier"] = "ZZ"
    rows.loc[rows.index[::30], "distance"] = -1
    by_rows, found = both(project, rows, reference, make_window(rows))
    assert set(by_rows.drifted) == set(found.drifted) == {"distance", "gust", "carrier"}
    assert by_rows.quality == found.quality
    assert {issue.issue for issue in found.quality} == {"missing", "unknown category", "out of range"}
    assert by_rows.performance == found.performance
    assert (by_rows.enough_rows, by_rows.versions) == (found.enough_rows, found.versions)
    for one, other in zip(by_rows.columns, found.columns, strict=True):
        assert (one.column, one.method) == (other.column, other.method)
        assert one.threshold == pytest.approx(other.threshold, rel=0.25)


def test_a_distance_is_within_the_sketchs_stated_error_of_that_of_all_rows(
    project: Project, make_rows: Rows, make_window: Windows
) -> None:
    rows, reference = make_rows(LARGE), make_rows(4_000, seed=1)  # a reference that is compared whole
    rows["distance"] *= 1.1
    rows["probability"] = rows["probability"] ** 1.2
    (seen,) = prints(project, rows).values()
    _, found = both(project, rows, reference, make_window(rows))
    distances = {each.column: each.distance for each in found.columns} | {"probability": found.prediction.distance}
    for name, summary in (("distance", seen.numbers["distance"]), ("probability", seen.answers["probability"])):
        before = reference[name].to_numpy("float64")
        low, high = clip_limits(before)
        # The distance is an integral of the ranks' differences over the range.
        error = summary.rank_error * (high - low) / np.std(np.clip(before, low, high))
        assert 0 < error < 0.1
        assert distances[name] == pytest.approx(wasserstein(before, rows[name].to_numpy("float64")), abs=error)


def test_by_fingerprints_a_column_without_drift_is_flagged_no_more_often_than_allowed(
    make_rows: Rows, make_window: Windows, project: Project
) -> None:
    names = [f"x{number}" for number in range(12)]
    columns = (*(Number(name) for name in names), *(Category(f"c{number}") for number in range(6)))
    many = replace(project, columns=columns)
    flagged = looked = 0
    for seed in range(5):
        frames = []
        for rows, stream in ((LARGE, 2 * seed), (10_000, 2 * seed + 1)):
            rng = np.random.default_rng([9, stream])
            frame = make_rows(rows, seed=100 + stream)
            for index, name in enumerate(names):
                frame[name] = rng.gamma(1 + index, size=rows).astype("float32")
            for index in range(6):
                frame[f"c{index}"] = rng.integers(2 + 5 * index, size=rows).astype(str)
            frames.append(frame)
        _, found = both(many, *frames, make_window(frames[0]))
        flagged, looked = flagged + len(found.drifted), looked + len(found.columns)
    # 90 looks at 1% are 0.9 flagged; 6 or more happen by chance once in 2,000 times.
    assert (looked, flagged < 6) == (90, True)


def test_the_null_distances_of_bridges_are_those_of_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    draws, walks = Resamples.of(10_000, 5_000, 5_000, n_resamples=500, seed=1), bridges(500, 0)
    pools = {
        "normal": rng.normal(size=10_000),
        "skewed": rng.lognormal(6.5, 0.5, 10_000),
        "five values": rng.integers(0, 5, 10_000).astype("float64"),
        "hours": rng.integers(0, 24, 10_000).astype("float64"),
    }
    for name, pool in pools.items():
        resampled = null_wasserstein(pool, pool[:5_000], draws)
        drawn = null_wasserstein_of_bridges(pool[:5_000], (5_000, 5_000), walks)
        assert drawn.mean() == pytest.approx(resampled.mean(), rel=0.1), name
        assert null_quantile(drawn, 0.01) == pytest.approx(null_quantile(resampled, 0.01), rel=0.2), name
    assert walks.shape == (500, BRIDGES + 1)
    assert null_wasserstein_of_bridges(np.zeros(50), (50, 50), walks).max() == 0


values = nps.arrays("float64", st.integers(1, 40), elements=st.floats(-9, 9, width=32))


@settings(max_examples=80, deadline=None)
@given(values, values, st.integers(0, 99))
def test_our_distance_is_scipys(reference: np.ndarray, current: np.ndarray, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(1, 9, len(current)).astype("float64")
    low, high = clip_limits(reference)
    sides = np.clip(reference, low, high), np.clip(current, low, high)
    norm = max(float(np.std(sides[0])), drift_metrics.LEAST_NORM)
    for given_weights in (None, weights):
        expected = wasserstein_distance(*sides, v_weights=given_weights) / norm
        assert wasserstein(reference, current, given_weights) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_of_more_categories_than_are_counted_the_others_are_one(
    project: Project, make_rows: Rows, make_window: Windows
) -> None:
    wide = replace(project, columns=(Category("carrier"),))
    rows, reference = make_rows(LARGE), make_rows(10_000, seed=1)
    rng = np.random.default_rng(4)
    for frame in (rows, reference):
        ids = [f"id{number}" for number in rng.integers(1 << 30, size=len(frame))]
        frame["carrier"] = np.where(rng.random(len(frame)) < 0.7, frame["carrier"], ids)
    _, calm = both(wide, rows, reference, make_window(rows))
    assert calm.drifted == ()
    rows.loc[rows.index[::4], "carrier"] = "AA"
    _, moved = both(wide, rows, reference, make_window(rows))
    assert moved.drifted == ("carrier",)


def two_versions(make_rows: Rows, rows: int) -> pd.DataFrame:
    """Three weeks of a good version, and one of its successor, which answers at random."""
    found = make_rows(rows)
    new = np.arange(rows) >= rows * 3 // 4
    found["model_version"] = np.where(new, "3", "2")
    guesses = np.random.default_rng(3).permutation(found["probability"].to_numpy())
    found["probability"] = np.where(new, guesses, found["probability"]).astype("float32")
    return found


@pytest.mark.parametrize("rows", [4_000, LARGE])
def test_a_champion_that_answers_at_random_for_a_week_of_a_month_is_judged_by_its_own_answers(
    project: Project, make_rows: Rows, make_window: Windows, rows: int
) -> None:
    logged, reference = two_versions(make_rows, rows), make_rows(10_000, seed=1)
    for health in both(project, logged, reference, make_window(logged)):
        assert health.performance is not None
        assert health.performance.rows == rows // 4
        assert health.performance.score.high < 0.6
        assert [(each.version, each.rows) for each in health.versions] == [("2", rows * 3 // 4), ("3", rows // 4)]
        before, own = health.versions
        assert own.performance == health.performance
        assert own.prediction == health.prediction
        assert before.performance is not None and before.performance.score.low > 0.6
        assert before.performance.expected is None


def test_a_champion_without_answers_in_a_window_is_judged_by_those_of_the_others(
    project: Project, make_rows: Rows, make_window: Windows
) -> None:
    logged = make_rows(1_000)
    logged["model_version"] = "2"
    health = assess_window(
        project, make_window(logged), logged, make_rows(4_000, seed=1), champion_version="3", expected=0.7
    )
    assert health.versions == ()
    assert health.performance is not None and health.performance.rows == 1_000


def test_rows_are_needed_where_no_fingerprint_says_enough(project: Project) -> None:
    classes = tuple(f"class {number}" for number in range(40))
    assert not needs_rows(project)
    assert needs_rows(replace(project, target=Multiclass("kind", classes=classes), gates=None))
