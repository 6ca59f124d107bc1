"""The report shows answers of several numbers, and how well any kind of answer did, as the health and its task say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Multiclass, Multilabel, Number, Project, Regression, Task
from fullcircle.core.records.health import Health, Window
from fullcircle.monitoring.evidently_report import MOST_ANSWERS, evidently_report, snapshot
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.labelled_report import MOST_CLASSES


def project_of(task: Task) -> Project:
    return Project(
        name="any",
        owner="ops@example.com",
        columns=(Number("x"), Number("y")),
        target=task,
        time="time",
        row_id="row_id",
        torch=lambda inputs, params: None,
    )


def rows(task: Task, count: int, seed: int, numbers: Any, labels: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(0, 1, count), "y": rng.normal(0, 1, count)})
    cells = pd.Series([row.tolist() for row in labels] if labels.ndim > 1 else labels.astype(float))
    answers = pd.DataFrame(task.answers.by_name(numbers.astype(np.float32)))
    return pd.concat([frame, answers, cells.rename("label")], axis=1)


def judged(project: Project, current: pd.DataFrame, reference: pd.DataFrame) -> Health:
    times = {"start": datetime(2013, 4, 1, tzinfo=UTC), "end": datetime(2013, 5, 1, tzinfo=UTC)}
    window = Window(project="any", **times, rows=len(current), labelled=len(current), versions=("3",))
    return assess_window(project, window, current, reference, champion_version="3", expected=None)


def metrics(project: Project, current: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    found = snapshot(project, judged(project, current, reference), current, reference).dict()
    return {
        metric["config"]["type"].split(":")[-1] + ":" + str(metric["config"].get("column", "")): metric["value"]
        for metric in found["metrics"]
    }


def classes(task: Task, count: int, seed: int, most: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(1.0 / np.arange(1, most + 1), count)
    labels = np.array([rng.choice(most, p=each) for each in p])
    return rows(task, count, seed, p, labels)


def test_a_regression_is_shown_by_its_errors_and_the_drift_of_its_interval() -> None:
    task = Regression("count", unit="rentals", loss="quantile")
    rng = np.random.default_rng(0)
    sides = []
    for seed, count in ((1, 900), (2, 3000)):
        truth = rng.gamma(3, 50, count)
        said = truth + rng.normal(0, 10, count)
        sides.append(rows(task, count, seed, np.stack([said, said - 20, said + 20], axis=1), truth))
    found = metrics(project_of(task), *sides)
    errors = sides[0]["prediction"] - sides[0]["label"]
    assert found["MAE:"]["mean"] == pytest.approx(errors.abs().mean(), rel=1e-4)
    assert {"ValueDrift:prediction", "ValueDrift:low", "ValueDrift:high"} <= set(found)


def test_several_classes_are_shown_by_their_accuracy_and_the_classes_that_moved_most() -> None:
    task = Multiclass("status", classes=("calm", "storm", "hurricane"))
    current, reference = classes(task, 900, 1, 3), classes(task, 3000, 2, 3)
    found = metrics(project_of(task), current, reference)
    said = task.answers.of(current).argmax(axis=1)
    assert found["Accuracy:"] == pytest.approx((said == current["label"]).mean())
    health = judged(project_of(task), current, reference)
    assert health.prediction is not None
    assert found[f"ValueDrift:{health.prediction.column}"] == pytest.approx(health.prediction.distance)


def test_each_label_of_each_row_is_one_decision() -> None:
    task = Multilabel("topics", labels=("sport", "money"))
    rng = np.random.default_rng(0)
    sides = []
    for seed, count in ((1, 900), (2, 3000)):
        p = rng.beta(1, 2, (count, 2))
        sides.append(rows(task, count, seed, p, (rng.random((count, 2)) < p).astype(int)))
    found = metrics(project_of(task), *sides)
    y, p = np.stack(sides[0]["label"].to_list()), sides[0][["p_sport", "p_money"]].to_numpy()
    assert found["Accuracy:"] == pytest.approx(((p >= 0.5) == y).mean())
    assert {"ValueDrift:p_sport", "ValueDrift:p_money"} <= set(found)


def test_a_thousand_classes_make_a_report_of_bounded_size(tmp_path: Path) -> None:
    task = Multiclass("kind", classes=tuple(f"kind{index}" for index in range(1000)))
    project, current, reference = project_of(task), classes(task, 300, 1, 1000), classes(task, 1000, 2, 1000)
    path = evidently_report(project, judged(project, current, reference), current, reference, tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    drifts = set(re.findall(r"Drift in column [^a-zA-Z]{1,3}(?:#x27;|#39;)?(p_kind\d+|all others)", text))
    assert 1 < len(drifts) <= MOST_ANSWERS
    assert 1 < len(set(re.findall(r"(?<!\w)kind\d+(?!\w)", text))) <= MOST_CLASSES
    assert len(text) < 8e6


def test_a_class_whose_name_is_a_script_does_not_run(chromium: Any, tmp_path: Path, hostile: str) -> None:
    task = Multiclass("status", classes=("calm", hostile, "storm"))
    project, current, reference = project_of(task), classes(task, 600, 1, 3), classes(task, 2000, 2, 3)
    path = evidently_report(project, judged(project, current, reference), current, reference, tmp_path / "r.html")

    def drawn(page: Any) -> None:
        page.frames[1].wait_for_selector("text=Drift Score", timeout=120_000)

    assert chromium.said(path.as_uri(), until=drawn) == []
