"""Gates and evidence that do not fit stop the project, by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Agrees, AtLeast, Better, Binary, Evidence, Number, Project


def project(**given: Any) -> Project:
    return Project(
        name="p",
        owner="o",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        **given,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 0.5),
        ("alpha", float("nan")),
        ("looks", 0),
        ("looks", 2.5),
        ("looks", True),
        ("window", timedelta(0)),
        ("power", 1.0),
        ("power", 0.2),
    ],
)
def test_evidence_that_cannot_be_is_refused_by_its_field(field: str, value: object) -> None:
    given: dict[str, Any] = {field: value}
    with pytest.raises(ProjectInvalid, match=rf"evidence.{field} must .*, got"):
        Evidence(**given)


@pytest.mark.parametrize("change", [-0.01, float("inf"), float("nan")])
def test_a_smallest_change_that_cannot_be_is_refused(change: float) -> None:
    with pytest.raises(ProjectInvalid, match=r"Better.min_absolute_change must be a number from 0.0 to"):
        Better("roc_auc", min_absolute_change=change)


@pytest.mark.parametrize("given", [{"share": 1.5}, {"share": -0.1}, {"margin": 0.0}, {"margin": 1.0}])
def test_an_agreement_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(
        ProjectInvalid, match=r"Agrees\.(share must be a number from 0.0 to 1.0|margin must .* below 1.0)"
    ):
        Agrees(**given)


def test_a_metric_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProjectInvalid, match=r"gates must name one of the metrics roc_auc, .*, got 'accuracy'"):
        project(gates=(AtLeast("accuracy", 0.5),))
