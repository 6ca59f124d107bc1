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
    Gate,
    Multiclass,
    Multilabel,
    NotWorse,
    Number,
    Project,
    Regression,
    Slice,
    SliceGate,
    Task,
)

BINARY = Binary("y", positive="yes")
CLASSES = Multiclass("y", ("a", "b", "c"))
LABELS = Multilabel("y", ("a", "b"))


def project(**given: Any) -> Project:
    return Project(
        name="p",
        owner="o",
        columns=(Number("x"),),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        **{"target": BINARY} | given,
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


REGRESSION = Regression("y", unit="dollar", loss="quantile")


@pytest.mark.parametrize(
    ("target", "gate", "said"),
    [
        (REGRESSION, AtLeast("r2", 2.0), r"AtLeast\('r2'\) must have a threshold of at most 1, got 2.0"),
        (REGRESSION, AtLeast("coverage", 1.75), r"AtLeast\('coverage'\) must have a threshold from 0 to 1, got 1.75"),
        (REGRESSION, AtLeast("mae", -0.1), r"AtLeast\('mae'\) must have a threshold of at least 0, got -0.1"),
        (REGRESSION, NotWorse("coverage", 1.5), r"NotWorse\('coverage'\) must have a margin of at most 1, since"),
        (BINARY, AtLeast("roc_auc", 60), r"AtLeast\('roc_auc'\) must have a threshold from 0 to 1, got 60"),
        (BINARY, AtLeast("brier", 1.1), r"AtLeast\('brier'\) must have a threshold from 0 to 1, got 1.1"),
        (BINARY, AtLeast("calibration_error", 1.1), "must have a threshold from 0 to 1, got 1.1"),
        (BINARY, AtLeast("log_loss", -0.2), "must have a threshold of at least 0, got -0.2"),
        (BINARY, Better("roc_auc", 1.0), r"Better\('roc_auc'\) must have a min_absolute_change below 1, since the ROC"),
        (BINARY, SliceGate("x", "roc_auc", 3), r"SliceGate\('roc_auc'\) must have a drop of at most 1, since the ROC"),
        (CLASSES, AtLeast("brier", 2.5), r"AtLeast\('brier'\) must have a threshold from 0 to 2, got 2.5"),
        (CLASSES, SliceGate("y", "recall", 1.5), r"SliceGate\('recall'\) must have a drop of at most 1"),
        (LABELS, AtLeast("micro_f1", 95), r"AtLeast\('micro_f1'\) must have a threshold from 0 to 1, got 95"),
    ],
)
def test_a_gate_beyond_what_its_metric_can_be_is_refused_in_one_line(target: Task, gate: Gate, said: str) -> None:
    with pytest.raises(ProjectInvalid, match=rf"^project 'p': gates: .*{said}"):
        project(target=target, gates=(gate,))


@pytest.mark.parametrize(
    ("target", "gate"),
    [
        *((target, AtLeast(name, end)) for target in (REGRESSION, BINARY, CLASSES, LABELS)
          for name, metric in target.metrics.items() for end in metric.bounds if end is not None),
        (REGRESSION, NotWorse("mae", 1e9)),
        (REGRESSION, NotWorse("rmse", 3e38)),
        (REGRESSION, Better("mae", 1e12)),
        (REGRESSION, SliceGate("x", "mae", 2.5e9)),
        (REGRESSION, AtLeast("r2", -40.0)),
        (BINARY, NotWorse("roc_auc", 1.0)),
        (BINARY, AtLeast("log_loss", 7.0)),
    ],
)  # fmt: skip
def test_a_gate_may_lie_at_the_ends_of_its_metric_and_an_error_has_the_size_of_its_target(
    target: Task, gate: Gate
) -> None:
    assert project(target=target, gates=(gate,)).gates == (gate,)


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
