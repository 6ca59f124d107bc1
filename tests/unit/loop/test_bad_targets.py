"""A target that does not fit its task is refused in one line, with exit code 2, before anything is trained."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import (
    AtLeast,
    Binary,
    Multiclass,
    Multilabel,
    Number,
    Project,
    Regression,
    SplitRule,
    Task,
)
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.retrain import checked_rows, split_rows

UNTIL = datetime(2024, 3, 1, tzinfo=UTC)
ROWS = 600
STATUS = Multiclass("status", classes=("calm", "storm", "hurricane"))
TAGS = Multilabel("tags", labels=("red", "green"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def stored(tmp_path: Path, task: Task, values: Any) -> Project:
    """A project whose two months hold these targets in the order of time; the last tenth are test rows."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=ROWS, freq="2h", tz="UTC").astype("datetime64[us, UTC]")
    rows = pd.DataFrame({"id": [f"r{number}" for number in range(ROWS)], "at": hours, "x": rng.normal(0, 1, ROWS)})
    rows = rows.astype({"x": "float32"}).assign(**{task.name: values})
    folder = tmp_path / "data" / "any"
    folder.mkdir(parents=True)
    for month, part in rows.groupby(rows["at"].dt.strftime("%Y-%m")):
        part.to_parquet(folder / f"{month}.parquet", index=False)
    return Project(
        name="any",
        owner="someone@example.com",
        data=str(folder),
        columns=(Number("x"),),
        target=task,
        time="at",
        row_id="id",
        torch=lambda inputs, params: None,
        split=SplitRule(validation=timedelta(days=5), test=timedelta(days=5)),
        folder=tmp_path,
    )


def prepared(project: Project, settings: Settings) -> None:
    """What a retrain does before it trains."""
    split_rows(project, checked_rows(project, settings, UNTIL), UNTIL)


def some(values: list[Any], *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values, dtype=object), ROWS)


def of_the_last(count: int, value: Any, others: Any) -> np.ndarray:
    found = np.array(others, dtype=object)
    found[-count:] = value
    return found


def numbers(*, zero: int = 0, odd: float | None = None) -> np.ndarray:
    found = np.random.default_rng(2).gamma(2, 30, ROWS)
    found[-zero:] = 0.0 if zero else found[-zero:]
    if odd is not None:
        found[7] = odd
    return found


GOOD: tuple[tuple[Task, Any], ...] = (
    (Binary("late", "arrived late"), some([0, 1]).astype(int)),
    (STATUS, some(list(STATUS.classes))),
    (Regression("count"), numbers()),
    (TAGS, [["red"] * (row % 2) + ["green"] * (row % 3 > 0) for row in range(ROWS)]),
)

BAD: tuple[tuple[str, Task, Any, str], ...] = (
    (
        "three classes",
        Binary("late", "late"),
        some([0, 1, 2]).astype(int),
        r"'late'.* 2 \(\d+\).*Multiclass",
    ),
    ("text", Binary("late", "late"), some(["0", "1"]), r"'late'.*'0' \(\d+\).*positive="),
    (
        "an unknown class",
        STATUS,
        some([*STATUS.classes, "tornado"]),
        r"'status'.*'tornado' \(\d+\).*new class",
    ),
    ("a missing class", STATUS, of_the_last(5, None, some(list(STATUS.classes))), r"'status'.*None \(5\)"),
    (
        "a class that only the test rows have",
        STATUS,
        of_the_last(30, "hurricane", some(["calm", "storm"])),
        "'status'.*no training row is of class 'hurricane', but the test rows have some",
    ),
    ("one class in all rows", Binary("late", "late"), np.zeros(ROWS, dtype=int), r"late=0.*lengthen"),
    (
        "one class in the training rows",
        Binary("late", "late"),
        of_the_last(55, 1, np.zeros(ROWS, dtype=int)).astype(int),
        "train part.*late=0",
    ),
    ("a NaN", Regression("count"), numbers(odd=np.nan), r"'count'.*nan \(1\)"),
    ("an infinite number", Regression("count"), numbers(odd=np.inf), r"'count'.*inf \(1\)"),
    ("a constant number", Regression("count"), np.full(ROWS, 3.0), "training rows.*'count' is 3 in each"),
    ("a constant label", TAGS, [["red"] * (row % 2) for row in range(ROWS)], "'tags'.*'green' is the same"),
    ("an unknown label", TAGS, [["red"] * (row % 2) + ["blue"] for row in range(ROWS)], r"'tags'.*'blue'.*\(\d+\)"),
)


@pytest.mark.parametrize(("task", "values"), GOOD, ids=lambda each: getattr(each, "kind", ""))
def test_a_target_that_fits_goes_on_to_training(tmp_path: Path, settings: Settings, task: Task, values: Any) -> None:
    prepared(stored(tmp_path, task, values), settings)


@pytest.mark.parametrize(("task", "values", "said"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_a_target_that_does_not_fit_is_refused_with_its_column_and_values(
    tmp_path: Path, settings: Settings, task: Task, values: Any, said: str
) -> None:
    with pytest.raises(FullcircleError, match=said) as caught:
        prepared(stored(tmp_path, task, values), settings)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_gate_that_the_test_rows_cannot_answer_is_refused_before_training(tmp_path: Path, settings: Settings) -> None:
    project = stored(tmp_path, Regression("count"), numbers(zero=9))
    prepared(project, settings)
    with pytest.raises(FullcircleError, match=r"gate on mape.*'count'.*0 in 9 of .* rows.*another metric") as caught:
        prepared(dataclasses.replace(project, gates=(AtLeast("mape", 0.5),)), settings)
    assert caught.value.exit_code == 2
