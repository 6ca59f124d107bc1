"""How strongly a column tells the target, whatever the target is, on the one scale of ROC AUC."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fullcircle.core.errors import LeakageFound
from fullcircle.core.project import Category, Column, Image, Multiclass, Multilabel, Number, Project, Regression, Task
from fullcircle.data.association import ASSOCIATIONS, concordance
from fullcircle.data.splits import split

NOW = datetime(2024, 6, 1, tzinfo=UTC)
CLASSES = Multiclass("kind", classes=("low", "middle", "high"))
COUNT = Regression("count", unit="rentals")
TOPICS = Multilabel("topics", labels=("sport", "money"))
CODES = np.random.default_rng(0).integers(0, 3, 2000)


def told(task: Task, column: Column, values: object, targets: np.ndarray) -> float:
    return ASSOCIATIONS[task.association].strength(column, pd.Series(values), targets)


def test_every_task_has_its_entry() -> None:
    assert {task.association for task in (CLASSES, COUNT, TOPICS)} | {"roc_auc"} == set(ASSOCIATIONS)


def test_the_concordance_with_two_values_is_the_roc_auc_ties_included() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, scores = rng.integers(0, 2, 60), rng.integers(0, 6, 60).astype(float)
        labels[:2] = 0, 1
        assert concordance(scores, labels.astype(float)) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_the_concordance_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, numbers = rng.integers(0, 9, 50).astype(float), rng.integers(0, 9, 50).astype(float)
    pairs = [(i, j) for i in range(50) for j in range(50) if numbers[i] < numbers[j]]
    share = np.mean([(scores[i] < scores[j]) + (scores[i] == scores[j]) / 2 for i, j in pairs])
    assert concordance(scores, numbers) == pytest.approx(share, abs=1e-12)
    assert concordance(np.zeros(50), numbers) == 0.5


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_number_that_orders_a_number_target_is_strong_whatever_its_scale(sign: float) -> None:
    target = np.random.default_rng(0).lognormal(0, 3, 2000)
    assert told(COUNT, Number("x"), sign * np.log(target), target) == pytest.approx(1.0)
    noise = np.random.default_rng(1).normal(size=2000)
    assert told(COUNT, Number("x"), noise, target) < 0.55


def test_a_category_and_an_image_tell_a_number_target_too() -> None:
    target = np.random.default_rng(0).uniform(0, 100, 2000)
    assert told(COUNT, Category("c"), (target // 5).astype(int).astype(str), target) > 0.9
    assert told(COUNT, Category("c"), [f"id{index}" for index in range(2000)], target) < 0.6
    scan = Image("scan", shape=(2, 2, 1), high=100)
    images = np.random.default_rng(1).uniform(0, 1, (2000, 4)).astype("float32")
    assert told(COUNT, scan, list(images), target) < 0.6
    images[:, 3] = target
    assert told(COUNT, scan, list(images), target) > 0.95


def test_a_number_that_is_only_there_where_the_target_is_not_zero_tells_it() -> None:
    target = np.where(np.random.default_rng(0).random(2000) < 0.1, np.random.default_rng(1).gamma(2, 10, 2000), 0.0)
    assert told(COUNT, Number("x"), np.where(target > 0, 1.0, np.nan), target) > 0.95


def test_a_code_of_three_classes_tells_the_middle_one_as_well() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 2000)
    assert told(CLASSES, Number("x"), CODES * 7.0 + noise, CODES) > 0.97
    assert told(CLASSES, Number("x"), np.array([5.0, 1.0, 3.0])[CODES] + noise, CODES) > 0.97
    assert told(CLASSES, Category("c"), np.array(["a", "b", "c"])[CODES], CODES) > 0.97


def test_what_tells_one_class_of_three_is_stronger_than_noise_and_less_than_all() -> None:
    only_one = (CODES == 2) + np.random.default_rng(1).normal(0, 0.1, 2000)
    assert 0.7 < told(CLASSES, Number("x"), only_one, CODES) < 0.95
    assert told(CLASSES, Number("x"), np.random.default_rng(2).normal(size=2000), CODES) < 0.56
    assert told(CLASSES, Category("c"), [f"id{index}" for index in range(2000)], CODES) < 0.6


def test_what_gives_one_label_of_several_away_is_as_strong_as_for_that_label_alone() -> None:
    labels = (np.random.default_rng(0).random((2000, 2)) < [0.3, 0.1]).astype("int8")
    assert told(TOPICS, Number("x"), labels[:, 1] + np.random.default_rng(1).normal(0, 0.1, 2000), labels) > 0.97
    assert told(TOPICS, Category("c"), np.random.default_rng(2).choice(["a", "b"], 2000), labels) < 0.56


def test_few_rows_are_chance() -> None:
    assert told(COUNT, Number("x"), np.arange(30.0), np.arange(30.0)) == 0.5
    assert told(CLASSES, Number("x"), np.arange(30.0), np.arange(30) // 10) == 0.5
    assert told(TOPICS, Number("x"), np.arange(30.0), (np.arange(30) > 14).astype("int8").reshape(-1, 1)) == 0.5


def test_a_thousand_classes_are_judged_by_the_most_frequent() -> None:
    codes = np.random.default_rng(0).zipf(1.3, 20_000) % 1000
    assert told(CLASSES, Number("x"), codes.astype(float), codes) > 0.9
    assert told(CLASSES, Number("x"), np.random.default_rng(1).normal(size=20_000), codes) < 0.56


def of(project: Project, task: Task) -> Project:
    return dataclasses.replace(project, target=task, gates=())


def test_a_sum_that_is_the_target_is_refused_with_its_columns(project: Project, frame: pd.DataFrame) -> None:
    frame = frame.assign(gust=np.random.default_rng(0).gamma(2, 900, len(frame)).astype("float32"))
    frame["count"] = frame["distance"] + frame["gust"]
    with pytest.raises(LeakageFound, match=r"'distance' and 'gust' together are the target: count = ") as caught:
        split(of(project, COUNT), frame, now=NOW)
    assert "after=True" in str(caught.value)
    off = dataclasses.replace(project.split, suspicious_auc=1.5)
    assert split(dataclasses.replace(of(project, COUNT), split=off), frame, now=NOW)[0].leakage.ok


def test_each_kind_of_target_is_split_and_a_column_that_tells_it_is_refused(
    project: Project, frame: pd.DataFrame
) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, len(frame))
    targets: dict[Task, object] = {
        COUNT: rng.gamma(2, 30, len(frame)),
        CLASSES: np.array(CLASSES.classes)[codes],
        TOPICS: [["sport"] * int(code > 0) + ["money"] * int(code > 1) for code in codes],
        Multilabel("topics", labels=("is_sport", "is_money"), separate=True): None,
    }
    for task, values in targets.items():
        rows = frame.assign(is_sport=(codes > 0).astype(int), is_money=(codes > 1).astype(int))
        if values is not None:
            rows[task.name] = values
        made, _ = split(of(project, task), rows, now=NOW)
        assert made.leakage.ok and made.leakage.strongest[0][1] < 0.6
        telling = task.targets(rows)
        telling = (telling if telling.ndim == 1 else telling.sum(axis=1)) + rng.normal(0, 0.01, len(rows))
        with pytest.raises(LeakageFound, match=r"'distance' (alone|together)|'distance' is a copy"):
            split(of(project, task), rows.assign(distance=telling.astype("float32")), now=NOW)
