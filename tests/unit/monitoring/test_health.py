"""Quality, realised performance, and the health of a window as a whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Project
from fullcircle.core.records.health import QualityIssue, Window
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.performance import performance
from fullcircle.monitoring.quality import quality

LATE = Binary("late", "arrived late")
Rows = Callable[..., pd.DataFrame]
Windows = Callable[[pd.DataFrame], Window]


def test_a_healthy_window_has_no_quality_issue(project: Project, make_rows: Rows) -> None:
    assert quality(project, make_rows(2000), make_rows(5000, seed=1)) == ()


def test_quality_names_the_column_the_issue_and_both_shares(project: Project, make_rows: Rows) -> None:
    current, reference = make_rows(1000), make_rows(5000, seed=1)
    current.loc[:799, "gust"] = np.nan
    current.loc[:99, "origin"] = "XXX"
    current.loc[:49, "carrier"] = "ZZ"
    current.loc[:29, "distance"] = -1.0
    current.loc[30:39, "distance"] = np.inf
    found = quality(project, current, reference)
    assert [(issue.column, issue.issue) for issue in found] == [
        ("gust", "missing"),
        ("origin", "unknown category"),
        ("carrier", "unknown category"),
        ("distance", "out of range"),
    ]
    assert [round(issue.share, 2) for issue in found[1:]] == [0.10, 0.05, 0.04]
    assert found[1:] == tuple(
        QualityIssue(column=i.column, issue=i.issue, share=i.share, reference_share=0.0) for i in found[1:]
    )


def test_a_few_bad_rows_are_no_issue(project: Project, make_rows: Rows) -> None:
    current = make_rows(1000)
    current.loc[:4, "carrier"] = "ZZ"
    assert quality(project, current, make_rows(5000, seed=1)) == ()


def test_realised_performance_counts_only_rows_whose_labels_arrived(make_rows: Rows) -> None:
    rows = make_rows(1000)
    rows.loc[600:, "label"] = np.nan
    got = performance(LATE, rows["label"].to_numpy(), rows["probability"].to_numpy(), expected=0.7)
    assert got is not None
    assert (got.rows, got.expected, got.previous_gain) == (600, 0.7, None)
    assert got.summary == {"positives": rows["label"].sum()}
    assert got.score == got.metrics["roc_auc"]
    assert got.score.low < got.score.value < got.score.high


def test_labels_in_words_are_logged_as_codes_and_judged_alike(make_rows: Rows) -> None:
    rows = make_rows(1000)
    labels, answers = rows["label"].to_numpy(), rows["probability"].to_numpy()
    in_words = performance(Binary("late", "arrived late", labels=("no", "yes")), labels, answers)
    assert in_words is not None
    assert in_words == performance(LATE, labels, answers)


def test_the_previous_champion_is_scored_on_the_same_rows(make_rows: Rows) -> None:
    rows = make_rows(3000)
    p = rows["probability"].to_numpy()
    noise = np.random.default_rng(0).random(3000).astype("float32")
    got = performance(LATE, rows["label"].to_numpy(), noise, expected=None, previous=p)
    assert got is not None and got.previous_gain is not None
    assert got.previous_gain.low > 0


@pytest.mark.parametrize("labels", [[np.nan] * 100, [1.0] * 100, [0.0, 1.0] * 20])
def test_too_few_labels_or_one_class_say_nothing(labels: list[float]) -> None:
    assert performance(LATE, np.array(labels), np.full(len(labels), 0.5, dtype="float32"), expected=None) is None


def test_a_window_from_the_same_world_is_healthy(project: Project, make_rows: Rows, make_window: Windows) -> None:
    current = make_rows(2000)
    health = assess_window(
        project, make_window(current), current, make_rows(8000, seed=1), champion_version="3", expected=0.7
    )
    assert (health.champion_version, health.enough_rows, health.is_drifted) == ("3", True, False)
    assert health.prediction is not None and not health.prediction.drifted
    assert health.performance is not None and health.performance.rows == 2000
    assert health.drop() == pytest.approx(0.7 - health.performance.score.value)


def test_a_window_from_another_world_is_drifted(project: Project, make_rows: Rows, make_window: Windows) -> None:
    current = make_rows(2000, seed=7)
    current["distance"] *= 1.5
    current["gust"] += 10
    health = assess_window(
        project, make_window(current), current, make_rows(8000, seed=1), champion_version="3", expected=None
    )
    assert set(health.drifted) == {"distance", "gust"}
    assert health.is_drifted


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_a_window_too_small_to_judge_says_so(
    project: Project, make_rows: Rows, make_window: Windows, rows: int
) -> None:
    current = make_rows(rows)
    health = assess_window(project, make_window(current), current, make_rows(500), champion_version="3", expected=0.7)
    assert not health.enough_rows
    assert not health.is_drifted
    assert health.performance is None
