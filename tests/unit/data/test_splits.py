"""Splits are cut by time, and refuse what would let the answer or the future into training."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fullcircle.core.errors import DataUnavailable, LeakageFound, TargetInvalid
from fullcircle.core.project import Category, Number
from fullcircle.data.association import auc, strength
from fullcircle.data.splits import split

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def test_parts_are_disjoint_complete_and_in_the_order_of_time(project, frame):
    cut, frames = split(project, frame.sample(frac=1, random_state=2), now=NOW)

    together = pd.concat([frames.train, frames.validation, frames.test])
    assert sorted(together["trip"]) == sorted(frame["trip"])
    assert frames.train["hour"].max() < frames.validation["hour"].min()
    assert frames.validation["hour"].max() < frames.test["hour"].min()
    assert frames.test["hour"].min() > frame["hour"].max() - timedelta(days=7)
    for span, part in ((cut.train, frames.train), (cut.validation, frames.validation), (cut.test, frames.test)):
        assert (span.rows, span.summary) == (len(part), {"positives": part["late"].sum()})
        assert (span.start, span.end) == (part["hour"].min(), part["hour"].max())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), validation=st.integers(1, 15), test=st.integers(1, 15))
def test_rows_of_one_timestamp_are_never_torn_apart(project, make_rows, with_split, seed, validation, test):
    rows = make_rows(1500, seed=seed)
    rows["hour"] = rows["hour"].dt.floor("2D")
    changed = with_split(project, validation=timedelta(days=validation * 2), test=timedelta(days=test))

    _, frames = split(changed, rows, now=NOW)

    parts = [set(part["hour"]) for part in (frames.train, frames.validation, frames.test)]
    assert sum(map(len, parts)) == rows["hour"].nunique()


def test_history_limits_training_alone(project, frame, with_split):
    _, whole = split(project, frame, now=NOW)
    _, short = split(with_split(project, history=timedelta(days=14)), frame, now=NOW)

    assert short.train["hour"].min() > short.validation["hour"].min() - timedelta(days=15)
    assert len(short.train) < len(whole.train)
    pd.testing.assert_frame_equal(short.test, whole.test)


def test_a_column_known_only_afterwards_is_not_in_the_frames(project, frame):
    _, frames = split(project, frame, now=NOW)

    expected = ["distance", "gust", "carrier", "plane", "late", "hour", "trip"]
    assert [list(part.columns) for part in (frames.train, frames.validation, frames.test)] == [expected] * 3


@pytest.mark.parametrize("name", ["delay", "late", "trip"])
def test_a_model_is_never_given_the_outcome(project, frame, name):
    with pytest.raises(LeakageFound, match=f"'{name}' is known only after the outcome") as caught:
        split(project, frame, now=NOW, inputs=["distance", name])
    assert [(leak.kind, leak.column) for leak in caught.value.report.leaks] == [("after", name)]


def test_a_copy_of_a_column_known_only_afterwards_is_found(project, frame):
    with pytest.raises(LeakageFound, match="'distance' is a copy of 'delay'"):
        split(project, frame.assign(distance=frame["delay"]), now=NOW)


def test_rows_from_the_future_are_refused(project, frame):
    now = frame["hour"].iloc[-10].to_pydatetime()
    with pytest.raises(LeakageFound, match="rows are later than") as caught:
        split(project, frame, now=now)
    assert caught.value.report.leaks[0].kind == "future"


def test_a_row_of_this_very_moment_is_no_future(project, frame):
    split(project, frame, now=frame["hour"].max().to_pydatetime())


def test_overlapping_row_ids_are_refused(project, frame):
    doubled = frame.copy()
    doubled.loc[len(doubled) - 1, "trip"] = doubled.loc[0, "trip"]
    with pytest.raises(LeakageFound, match="1 row ids come more than once, such as t1-000000") as caught:
        split(project, doubled, now=NOW)
    assert caught.value.report.leaks[0].kind == "overlap"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_gives_the_answer_away_is_refused(project, frame, sign):
    noise = np.random.default_rng(0).normal(0, 1, len(frame))
    with pytest.raises(LeakageFound, match=r"'distance' alone reaches ROC AUC 0\.9\d+ \(limit 0\.95\)") as caught:
        split(project, frame.assign(distance=sign * frame["delay"] + noise), now=NOW)
    assert caught.value.report.strongest[0][0] == "distance"


def test_a_category_that_gives_the_answer_away_is_refused(project, frame):
    telling = frame["late"].map({0: "landed", 1: "held"})
    with pytest.raises(LeakageFound, match="'plane' alone"):
        split(project, frame.assign(plane=telling), now=NOW)


def test_a_value_that_is_only_filled_in_afterwards_is_refused(project, frame):
    gust = np.where(frame["late"] == 1, np.random.default_rng(0).normal(size=len(frame)), np.nan)
    with pytest.raises(LeakageFound, match="'gust' alone"):
        split(project, frame.assign(gust=gust), now=NOW)


def test_the_limit_is_the_projects_own(project, frame, with_split):
    noise = np.random.default_rng(0).normal(0, 1, len(frame))
    cut, _ = split(with_split(project, suspicious_auc=1.1), frame.assign(distance=frame["delay"] + noise), now=NOW)
    name, area = cut.leakage.strongest[0]
    assert (name, area > 0.99, cut.leakage.ok) == ("distance", True, True)


def test_a_category_with_one_row_each_says_nothing(frame):
    column = Category("id")
    assert strength(column, frame["trip"], frame["late"].to_numpy() == 1) < 0.6


def test_pure_noise_is_not_suspected(project, frame):
    cut, _ = split(project, frame, now=NOW)
    assert all(area < 0.6 for _, area in cut.leakage.strongest)


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(st.integers(-3, 3), min_size=4, max_size=60), seed=st.integers(0, 99))
def test_auc_is_the_reference_auc_ties_included(scores, seed):
    labels = np.random.default_rng(seed).random(len(scores)) < 0.5
    labels[:2] = [True, False]
    assert auc(np.array(scores, dtype=float), labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_few_rows_are_never_suspected():
    labels = np.arange(30) < 15
    assert strength(Number("x"), pd.Series(np.arange(30.0)), labels) == 0.5


def test_an_empty_part_says_which_and_what_to_do(project, frame, with_split):
    with pytest.raises(DataUnavailable, match=r"the train part has no row.*shorten it"):
        split(with_split(project, validation=timedelta(days=90)), frame, now=NOW)


def test_a_part_of_one_class_says_which(project, frame):
    quiet = frame.copy()
    quiet.loc[quiet["hour"] > quiet["hour"].max() - timedelta(days=7), "late"] = 0
    with pytest.raises(TargetInvalid, match=r"the test part \(2024-.* has only late=0"):
        split(project, quiet, now=NOW)


def test_no_rows_at_all_is_said_plainly(project, frame):
    with pytest.raises(DataUnavailable, match="no row to split"):
        split(project, frame.iloc[:0], now=NOW)


def test_times_without_a_timezone_are_refused(project, frame):
    with pytest.raises(DataUnavailable, match="'hour' holds no times with a timezone"):
        split(project, frame.assign(hour=frame["hour"].dt.tz_localize(None)), now=NOW)


def test_a_missing_input_is_named(project, frame):
    with pytest.raises(DataUnavailable, match="no column 'gust'"):
        split(project, frame.drop(columns="gust"), now=NOW)


def test_inputs_marked_in_the_project_are_what_a_model_sees(project):
    marked = dataclasses.replace(
        project, columns=[dataclasses.replace(column, after=column.name != "gust") for column in project.columns]
    )
    assert [column.name for column in marked.inputs] == ["gust"]
