"""Gates and evidence that do not fit stop the project, by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import (
    AgreementGate,
    Agrees,
    AtLeast,
    Better,
    Binary,
    ErrorBudget,
    Evidence,
    Number,
    Project,
    Slice,
    SliceGate,
)


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
        ("n_analyses", 0),
        ("n_analyses", 2.5),
        ("n_analyses", True),
        ("window", timedelta(0)),
        ("power", 1.0),
        ("power", 0.2),
    ],
)
def test_evidence_that_cannot_be_is_refused_by_its_field(field: str, value: object) -> None:
    given: dict[str, Any] = {field: value}
    with pytest.raises(ProjectInvalid, match=rf"evidence.{field} must .*, got"):
        ErrorBudget(**given)


@pytest.mark.parametrize("change", [-0.01, float("inf"), float("nan")])
def test_a_smallest_change_that_cannot_be_is_refused(change: float) -> None:
    with pytest.raises(ProjectInvalid, match=r"Better.min_absolute_change must be a number from 0.0 to"):
        Better("roc_auc", min_absolute_change=change)


@pytest.mark.parametrize("given", [{"share": 1.5}, {"share": -0.1}, {"margin": 0.0}, {"margin": 1.0}])
def test_an_agreement_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(
        ProjectInvalid, match=r"AgreementGate\.(share must be a number from 0.0 to 1.0|margin must .* below 1.0)"
    ):
        AgreementGate(**given)


def test_a_metric_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProjectInvalid, match=r"gates must name one of the metrics roc_auc, .*, got 'accuracy'"):
        project(gates=(AtLeast("accuracy", 0.5),))


def test_a_project_file_of_an_earlier_version_may_say_evidence_looks_slice_and_agrees() -> None:
    assert Evidence(looks=12) == ErrorBudget(n_analyses=12)
    assert Evidence(alpha=0.1) == ErrorBudget(alpha=0.1)
    assert Slice("origin", "roc_auc", drop=0.1) == SliceGate("origin", "roc_auc", drop=0.1)
    assert Agrees(share=0.1) == AgreementGate(share=0.1)
    with pytest.raises(ProjectInvalid, match=r"evidence\.n_analyses must"):
        Evidence(looks=0)
