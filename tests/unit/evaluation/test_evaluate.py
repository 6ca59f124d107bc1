"""One model on one set of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Category, Number, Project, SliceGate
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.slices import groups, sliced_columns

Rows = Callable[..., tuple[pd.DataFrame, np.ndarray]]


def test_an_evaluation_has_every_metric_slices_and_reliability(project: Project, make_rows: Rows) -> None:
    frame, truth = make_rows()
    evaluation = evaluate(project, "torch", frame, truth.astype("float32"))
    assert tuple(evaluation.metrics) == tuple(project.target.metrics)
    assert (evaluation.framework, evaluation.rows) == ("torch", 4000)
    assert evaluation.summary == {"positives": frame["late"].sum()}
    assert sorted((s.column, s.group) for s in evaluation.slices) == [("origin", g) for g in ("EWR", "JFK", "LGA")]
    assert all(s.difference is None for s in evaluation.slices)
    assert sum(rows for _, _, rows in evaluation.curves["reliability"]) == 4000


def test_slices_say_where_the_challenger_differs_from_the_champion(project: Project, make_rows: Rows) -> None:
    frame, truth = make_rows()
    champion = truth.copy()
    champion[frame["origin"] == "JFK"] = np.random.default_rng(0).random(int((frame["origin"] == "JFK").sum()))
    evaluation = evaluate(project, "torch", frame, truth, champion=champion)
    differences = {s.group: s.difference for s in evaluation.slices}
    assert differences["JFK"] is not None and differences["JFK"].low > 0.1
    assert differences["EWR"] is not None and differences["EWR"].value == 0.0


def test_small_and_one_class_groups_are_left_out(project: Project, make_rows: Rows) -> None:
    frame, _ = make_rows(1000)
    frame["origin"] = ["A"] * 199 + ["B"] * 300 + ["C"] * 501
    frame.loc[frame["origin"] == "B", "late"] = 0
    assert [name for name, _ in groups(project, frame, "origin", project.target.targets(frame))] == ["C"]


def test_at_most_twenty_groups_a_column_the_largest_first(project: Project, make_rows: Rows) -> None:
    frame, _ = make_rows(10_000)
    frame["origin"] = np.random.default_rng(0).integers(0, 30, 10_000).astype(str)
    found = groups(project, frame, "origin", project.target.targets(frame))
    sizes = [int(mask.sum()) for _, mask in found]
    assert len(found) == 20
    assert sizes == sorted(sizes, reverse=True)


def test_a_number_with_many_values_is_cut_into_quarters(project: Project, make_rows: Rows) -> None:
    frame, _ = make_rows(4000)
    frame.loc[:299, "distance"] = np.nan
    found = groups(project, frame, "distance", project.target.targets(frame))
    assert len(found) == 5
    assert "missing" in [name for name, _ in found]


def test_a_slice_gate_is_evaluated_even_if_slices_does_not_name_it(make_project: Callable[..., Project]) -> None:
    project = make_project(
        slices=("distance",), gates=(SliceGate("origin", "roc_auc", 0.1), SliceGate("origin", "brier", 0.1))
    )
    assert sliced_columns(project) == ("distance", "origin")
    assert isinstance(project.columns[0], Number) and isinstance(project.columns[1], Category)


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        (np.zeros(5), "must have the shape"),
        (np.full(4000, np.nan), "must be finite and between 0 and 1"),
        (np.full(4000, 1.5), "must be finite and between 0 and 1"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(
    project: Project, make_rows: Rows, probability: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(project, "torch", make_rows()[0], probability)
