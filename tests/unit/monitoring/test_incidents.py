"""Incidents: what of a window's health on-call should know of."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from fullcircle.core.project import Project
from fullcircle.core.records.health import ColumnDrift, Health, Performance, QualityIssue, Window
from fullcircle.core.records.incidents import FaultState, Severity, incident_key
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks.binary import ROC_AUC
from fullcircle.monitoring.incidents import incidents, window_check

LOSS = Interval(value=0.5, low=0.49, high=0.51)


def realised(value: float, half: float, expected: float | None = 0.75) -> Performance:
    auc = Interval(value=value, low=value - half, high=value + half)
    metrics = {"roc_auc": auc, "log_loss": LOSS, "brier": LOSS}
    return Performance.by(ROC_AUC, rows=900, summary={"positives": 200}, metrics=metrics, expected=expected)


def drift(column: str, distance: float) -> ColumnDrift:
    return ColumnDrift(column=column, method="wasserstein", distance=distance, threshold=0.1)


@pytest.fixture
def healthy() -> Health:
    """Two columns, neither of which drifted, and an AUC as promised."""
    start, end = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 5, 1, tzinfo=UTC)
    window = Window(project="flights", start=start, end=end, rows=1000, labelled=900, versions=("3",))
    return Health(
        window=window,
        champion_version="3",
        columns=(drift("distance", 0.05), drift("gust", 0.02)),
        prediction=drift("prediction", 0.01),
        quality=(),
        performance=realised(0.75, 0.01),
        drifted_share_limit=0.5,
    )


def test_a_healthy_window_is_no_incident(project: Project, healthy: Health) -> None:
    assert incidents(project, healthy, links={}) == ()


@pytest.mark.parametrize(("half", "severity"), [(0.005, Severity.CRITICAL), (0.05, Severity.WARNING)])
def test_a_fall_beyond_the_tolerated_drop_is_critical_only_when_certain(
    project: Project, healthy: Health, half: float, severity: Severity
) -> None:
    (found,) = incidents(project, dataclasses.replace(healthy, performance=realised(0.70, half)), links={})
    assert (found.cause, found.severity, found.key) == ("degraded", severity, "flights:degraded")
    assert found.title == "flights: ROC AUC is 0.700, 0.050 below what it was at release"
    assert found.evidence["ROC AUC"].startswith("0.7000 [")
    assert found.evidence["at release"] == "0.7500"


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(value=0.02, low=-0.01, high=0.05), "is higher by 0.0200 [-0.0100, +0.0500]"),
        (Interval(value=-0.02, low=-0.05, high=0.01), "is lower by 0.0200 [-0.0500, +0.0100]"),
        (Interval(value=0.0, low=0.0, high=0.0), "equals the champion's to the digits shown [+0.0000, +0.0000]"),
    ],
)
def test_how_the_previous_champion_would_do_is_said_in_the_direction_of_its_sign(
    project: Project, healthy: Health, gain: Interval, words: str
) -> None:
    fallen = dataclasses.replace(realised(0.60, 0.01), previous_gain=gain)
    (found,) = incidents(project, dataclasses.replace(healthy, performance=fallen), links={})
    assert found.evidence["previous champion"] == f"its ROC AUC {words} on the same rows"


def test_a_fall_within_the_tolerated_drop_is_no_incident(project: Project, healthy: Health) -> None:
    assert incidents(project, dataclasses.replace(healthy, performance=realised(0.735, 0.001)), links={}) == ()


@pytest.mark.parametrize("performance", [None, realised(0.5, 0.01, expected=None)])
def test_without_labels_or_a_gate_figure_nothing_is_degraded(
    project: Project, healthy: Health, performance: Performance | None
) -> None:
    assert incidents(project, dataclasses.replace(healthy, performance=performance), links={}) == ()


def test_a_drifted_window_names_its_worst_columns_first(project: Project, healthy: Health) -> None:
    columns = (drift("distance", 0.2), drift("gust", 0.9), drift("origin", 0.01))
    (found,) = incidents(project, dataclasses.replace(healthy, columns=columns), links={"run": "http://x"})
    assert (found.cause, found.columns) == ("drift", ("gust", "distance"))
    assert found.title == "flights: 2 of 3 columns drifted"
    assert found.evidence["gust"] == "wasserstein distance 0.900, threshold 0.100"
    assert found.links == {"run": "http://x", "runbook": "docs/runbooks/flights.md"}
    assert (found.since, found.seen) == (healthy.window.start, healthy.window.end)


def test_a_single_drifted_column_is_no_drifted_window(project: Project, healthy: Health) -> None:
    columns = (drift("distance", 0.2), drift("gust", 0.02), drift("origin", 0.01))
    assert incidents(project, dataclasses.replace(healthy, columns=columns), links={}) == ()


@pytest.mark.parametrize(("share", "severity"), [(0.95, Severity.CRITICAL), (0.2, Severity.WARNING)])
def test_bad_data_is_an_incident_and_a_broken_column_a_critical_one(
    project: Project, healthy: Health, share: float, severity: Severity
) -> None:
    issues = (
        QualityIssue(column="gust", issue="missing", share=share, reference_share=0.1),
        QualityIssue(column="origin", issue="unknown category", share=0.03, reference_share=0.0),
    )
    found, other = incidents(project, dataclasses.replace(healthy, quality=issues), links={})
    assert (found.cause, found.subject, found.severity, found.columns) == ("missing", "gust", severity, ("gust",))
    assert found.title == f"flights: gust has {share:.1%} missing"
    assert (other.cause, other.subject, other.severity) == ("unknown category", "origin", Severity.WARNING)
    assert found.key != other.key


def test_a_few_more_gaps_are_not_worth_a_page(project: Project, healthy: Health) -> None:
    issue = QualityIssue(column="gust", issue="missing", share=0.13, reference_share=0.1)
    assert incidents(project, dataclasses.replace(healthy, quality=(issue,)), links={}) == ()


def test_the_worst_incident_comes_first_and_keys_are_distinct(project: Project, healthy: Health) -> None:
    ill = dataclasses.replace(
        healthy,
        columns=(drift("distance", 0.2), drift("gust", 0.9)),
        quality=(QualityIssue(column="gust", issue="missing", share=0.3, reference_share=0.1),),
        performance=realised(0.6, 0.01),
    )
    found = incidents(project, ill, links={})
    assert [incident.cause for incident in found] == ["degraded", "drift", "missing"]
    assert len({incident.key for incident in found}) == 3


def test_a_window_that_is_too_small_pages_nobody(project: Project, healthy: Health) -> None:
    ill = dataclasses.replace(healthy, columns=(drift("distance", 9.0),), performance=realised(0.5, 0.01))
    assert incidents(project, dataclasses.replace(ill, enough_rows=False), links={}) == ()


def test_what_could_not_be_judged_is_unknown_and_not_healthy(project: Project, healthy: Health) -> None:
    ill = dataclasses.replace(
        healthy,
        columns=(drift("distance", 0.2), drift("gust", 0.9)),
        quality=(QualityIssue(column="distance", issue="missing", share=0.3, reference_share=0.1),),
        performance=realised(0.6, 0.01),
    )
    degraded, drifted, missing = incidents(project, ill, links={})
    elsewhere = dataclasses.replace(missing, key="flights:missing:gone", subject="gone")

    well = window_check(project, healthy, links={})
    assert [well.state_of(each) for each in (degraded, drifted, missing)] == [FaultState.HEALTHY] * 3
    assert well.state_of(elsewhere) is FaultState.UNKNOWN, "a column that the project does not have any more"

    small = window_check(project, dataclasses.replace(healthy, enough_rows=False), links={})
    assert [small.state_of(each) for each in (degraded, drifted, missing)] == [FaultState.UNKNOWN] * 3

    unlabelled = window_check(project, dataclasses.replace(healthy, performance=None), links={})
    assert [unlabelled.state_of(each) for each in (degraded, drifted)] == [FaultState.UNKNOWN, FaultState.HEALTHY]

    gone = QualityIssue(column="distance", issue="missing", share=1.0, reference_share=0.1)
    blind = window_check(project, dataclasses.replace(healthy, quality=(gone,)), links={})
    ranged = dataclasses.replace(missing, cause="out of range", key="flights:out of range:distance")
    assert blind.state_of(missing) is FaultState.BAD
    assert blind.state_of(ranged) is FaultState.UNKNOWN, "nothing is there that could be in range"


@pytest.mark.parametrize("subject", ["gust", "x" * 5_000])
def test_a_key_fits_into_the_database_and_is_its_columns_own(subject: str) -> None:
    assert len(incident_key("flights", "missing", subject)) <= 200
    assert incident_key("flights", "missing", subject) != incident_key("flights", "missing", subject + "y")
