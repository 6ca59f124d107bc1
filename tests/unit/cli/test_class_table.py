"""`train` and `run` show each model's figures on the rows of each actual class."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from fullcircle.cli.output.tables import print_classes
from fullcircle.core.project import Binary, Multiclass
from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.core.statistics.interval import Interval

WIND = Multiclass("wind", ("calm", "storm", "low"))


def score(group: str, rows: int, value: float, **changes: Any) -> SliceScore:
    given = {"column": "wind", "metric": "recall", "difference": None, "judged": True} | changes
    return SliceScore(group=group, rows=rows, score=Interval(value=value, low=value - 0.1, high=value + 0.1), **given)


def evaluation(*scores: SliceScore) -> Evaluation:
    return Evaluation(framework="torch", rows=3500, summary={}, metrics={}, slices=scores)


def printed(task: Any, evaluations: dict[str, Evaluation]) -> str:
    text = io.StringIO()
    print_classes(Console(file=text, width=160, color_system=None), task, evaluations)
    return text.getvalue()


@pytest.fixture
def torch() -> Evaluation:
    by_column = score("north", 1000, 0.9, column="origin", metric="roc_auc")
    return evaluation(
        by_column, score("calm", 3000, 0.8), score("storm", 488, 0.7), score("low", 12, 0.0, judged=False)
    )


def test_models_stand_beside_each_other_class_by_class(torch: Evaluation) -> None:
    keras = evaluation(
        *(dataclasses.replace(each, score=Interval(value=0.5, low=0.4, high=0.6)) for each in torch.slices)
    )

    lines = [line.split("  ") for line in printed(WIND, {"torch": torch, "keras": keras}).splitlines()]

    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert ["recall of each actual class"] in cells
    assert ["wind", "rows", "torch", "keras"] in cells
    assert ["calm", "3,000", "0.8000 [0.7000, 0.9000]", "0.5000 [0.4000, 0.6000]"] in cells
    assert ["low", "12 (too few to judge)", "0.0000 [-0.1000, 0.1000]", "0.5000 [0.4000, 0.6000]"] in cells
    assert not any("north" in cell for line in cells for cell in line)


def test_a_class_is_text_and_no_markup() -> None:
    assert "[red]" in printed(WIND, {"torch": evaluation(score("[red]", 30, 0.5))})


def test_a_target_that_is_no_class_has_no_table(torch: Evaluation) -> None:
    assert printed(Binary("wind", "windy"), {"torch": torch}) == ""
