"""Drift of answers of several numbers: the false alarms of one column, and the number that moved is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from fullcircle.core.project import Binary, Multiclass, Multilabel, Project, Regression, Task
from fullcircle.core.records.health import Window
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.prediction_drift import MOST_NUMBERS, OTHERS, answer_frames, prediction_drift

Windows = Callable[[pd.DataFrame], Window]
Answers = NDArray[np.float32]

TASKS: tuple[Task, ...] = (
    Binary("late", "arrived late"),
    Multiclass("status", classes=("calm", "storm", "hurricane")),
    Multilabel("topics", labels=("sport", "money", "art")),
    Regression("count", unit="rentals"),
    Regression("count", unit="rentals", loss="quantile"),
)


def softmax(rows: int, classes: int, seed: int, shift: float = 0.0) -> Answers:
    """Probabilities of classes of unequal frequency; `shift` moves the logit of the first."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (rows, classes)) - 0.5 * np.sqrt(np.arange(classes))
    logits[:, 0] += shift
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


def names(classes: int) -> list[str]:
    return [f"p_{index}" for index in range(classes)]


def made(task: Task, rows: int, seed: int) -> tuple[Answers, NDArray[np.float64], list[object]]:
    """Answers, targets' codes, and the cells of `label` as the log holds them."""
    rng = np.random.default_rng(seed)
    if task.kind == "multiclass":
        answers = softmax(rows, 3, seed)
        codes = np.array([rng.choice(3, p=row / row.sum()) for row in answers.astype(np.float64)], dtype=np.float64)
        return answers, codes, codes.tolist()
    if task.kind == "multilabel":
        answers = rng.beta(2, 3, (rows, 3)).astype(np.float32)
        codes = (rng.random((rows, 3)) < answers).astype(np.float64)
        return answers, codes, [row.tolist() for row in codes]
    if task.kind == "regression":
        truth = rng.gamma(3, 50, rows)
        said = truth + rng.normal(0, 10, rows)
        answers = np.stack([said, said - 20, said + 20], axis=1)[:, : len(task.answers.numbers)].astype(np.float32)
        return np.squeeze(answers), truth, truth.tolist()
    answers = rng.beta(2, 6, rows).astype(np.float32)
    codes = (rng.random(rows) < answers).astype(np.float64)
    return answers, codes, codes.tolist()


def log_window(task: Task, rows: int, seed: int) -> pd.DataFrame:
    answers, _, labels = made(task, rows, seed)
    rng = np.random.default_rng(seed)
    cells: list[object] = [None if task.kind == "multilabel" else np.nan] * (rows // 4) + labels[rows // 4 :]
    inputs = {
        "distance": rng.normal(0, 1, rows).astype("float32"),
        "gust": rng.normal(0, 1, rows).astype("float32"),
        "origin": rng.choice(["EWR", "JFK"], rows),
        "carrier": "AA",
    }
    return pd.DataFrame({**inputs, **task.answers.by_name(answers), "label": pd.Series(cells)})


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind} {task.loss}")
def test_the_health_of_a_window_is_judged_for_every_kind_of_task(
    project: Project, make_window: Windows, task: Task
) -> None:
    project = dataclasses.replace(project, target=task, gates=())
    current, reference = log_window(task, 1200, 1), log_window(task, 4000, 2).drop(columns="label")
    earlier = np.roll(task.answers.of(current), 1, axis=0)
    health = assess_window(
        project, make_window(current), current, reference, champion_version="3", expected=None, previous=earlier
    )
    assert health.prediction is not None and not health.prediction.drifted
    found = health.performance
    assert found is not None and found.rows == 900
    assert set(task.headline) <= set(found.metrics)
    # The earlier one answers each row with its neighbour's.
    assert found.previous_gain is not None and found.previous_gain.high < 0


@pytest.mark.parametrize("classes", [3, MOST_NUMBERS + 20])
def test_answers_of_several_numbers_have_the_false_alarms_of_one_column(classes: int) -> None:
    flagged = [
        drift.drifted
        for seed in range(40)
        if (
            drift := prediction_drift(
                softmax(200, classes, 1000 + seed),
                softmax(1500, classes, seed),
                names=names(classes),
                false_alarms=0.05,
                seed=seed,
            )
        )
    ]
    assert len(flagged) == 40
    # 0.05 and 4 standard errors of 40 looks
    assert np.mean(flagged) <= 0.19


def test_the_number_that_moved_furthest_is_named() -> None:
    drift = prediction_drift(softmax(500, 5, 1, shift=0.8), softmax(4000, 5, 2), names=names(5))
    assert drift is not None and drift.drifted and drift.column == "p_0"


def test_a_rare_class_among_a_thousand_that_surges_is_seen_in_the_sum_of_all_others() -> None:
    reference, now = softmax(3000, 1000, 1), softmax(600, 1000, 2)
    now[:, 999] += 0.4
    now /= now.sum(axis=1, keepdims=True)
    looked_at, _ = answer_frames(now, reference, names(1000))
    assert len(looked_at.columns) == MOST_NUMBERS
    assert looked_at.sum(axis=1).to_numpy() == pytest.approx(np.ones(600), abs=1e-4)
    drift = prediction_drift(now, reference, names=names(1000))
    assert drift is not None and drift.drifted
    assert OTHERS in looked_at


def test_a_class_that_the_log_did_not_have_yet_is_left_out_and_the_others_judged() -> None:
    now, reference = softmax(400, 3, 1), softmax(2000, 3, 2)
    reference[:, 2] = np.nan
    now[:100, 2] = np.nan
    drift = prediction_drift(now, reference, names=names(3))
    assert drift is not None and drift.column in {"p_0", "p_1"}
    moved = prediction_drift(softmax(400, 3, 1, shift=1.0), reference, names=names(3))
    assert moved is not None and moved.drifted


def test_rows_without_an_answer_are_skipped() -> None:
    now, reference = softmax(400, 3, 1), softmax(2000, 3, 2)
    with_gaps = np.concatenate([now, np.full((50, 3), np.nan, dtype=np.float32)])
    assert prediction_drift(with_gaps, reference, names=names(3)) == prediction_drift(now, reference, names=names(3))
    nothing = np.full((50, 3), np.nan, dtype=np.float32)
    assert prediction_drift(nothing, reference, names=names(3)) is None
    assert prediction_drift(now[:0], reference, names=names(3)) is None


def test_a_window_written_before_a_class_was_named_is_still_judged(project: Project, make_window: Windows) -> None:
    old, new = (
        Multiclass("status", classes=("calm", "storm", "hurricane")),
        Multiclass("status", classes=("calm", "storm", "hurricane", "tornado")),
    )
    current, reference = log_window(old, 600, 1), log_window(old, 2000, 2)
    project = dataclasses.replace(project, target=new, gates=())
    health = assess_window(project, make_window(current), current, reference, champion_version="3", expected=None)
    assert health.prediction is not None and not health.prediction.drifted
    assert health.performance is None  # of answers that lack a class no metric is known
