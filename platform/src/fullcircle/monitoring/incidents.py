"""Incidents: what of a window's health on-call should know of, with the evidence in words. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from fullcircle.core.project import Project
from fullcircle.core.records.health import Health, QualityIssue, Rollback
from fullcircle.core.records.incidents import Incident, Severity, WindowCheck, incident_key
from fullcircle.core.statistics.interval import Interval, in_digits, in_few_digits
from fullcircle.monitoring.quality import MISSING, RANGE, UNKNOWN

DEGRADED, DRIFT = "degraded", "drift"
ROLLBACK = "rollback"
"""The cause of an incident that says what became of a rollback that was decided."""
TOP = 5
BROKEN_SHARE = 0.5
"""Excess share of bad rows from which a column counts as broken."""
PAGED_GAPS = 0.05
"""Excess share of missing values that is worth a page; less is in the report. Any other issue always is."""
GONE = 0.99
"""Share of missing values from which nothing is known of what else a column's values would be."""


def window_check(
    project: Project, health: Health, *, links: Mapping[str, str], more: Sequence[Incident] = ()
) -> WindowCheck:
    """What a window's health says of every fault that is watched for, `more` faults among them.

    What could not be judged is unknown, and not healthy: a window of too few rows says nothing, one without labels
    nothing of performance, and a column that is missing as good as throughout nothing of its categories and range.
    """
    window = health.window
    gone = [issue.column for issue in health.quality if issue.issue == MISSING and issue.share >= GONE]
    unknown = [incident_key(project.name, cause, column) for column in gone for cause in (UNKNOWN, RANGE)]
    if health.drop() is None:
        unknown.append(DEGRADED)
    if not health.columns:
        unknown.append(DRIFT)
    return WindowCheck(
        project=project.name,
        start=window.start,
        end=window.end,
        champion=health.champion_version,
        rows=window.rows,
        labelled=window.labelled,
        faults=(*more, *incidents(project, health, links=links)),
        subjects=tuple(column.name for column in project.inputs),
        unknown=tuple(unknown),
        quiet=not health.enough_rows,
    )


def incidents(project: Project, health: Health, *, links: Mapping[str, str]) -> tuple[Incident, ...]:
    """The faults that a window shows, worst first: `degraded`, `drift`, and one for each thing that is wrong with a
    column. None on a window that is too small.

    A fault's key is the project, the cause and the column, so that it stays one incident for as many windows as it
    lasts.
    """
    if not health.enough_rows:
        return ()
    if project.runbook:
        links = {"runbook": project.runbook, **links}
    found = [*_degraded(project, health, links), *_drift(project, health, links), *_quality(project, health, links)]
    return tuple(sorted(found, key=lambda incident: -incident.severity.rank))


def rollback_incident(
    project: Project,
    health: Health,
    decision: Rollback,
    champion: str,
    *,
    done: bool,
    failed: str = "",
    links: Mapping[str, str],
) -> Incident:
    """What on-call is told of a rollback that was decided: that it was made, or the command that makes it.

    Args:
        champion: the version that was judged, which served until then.
        done: whether version `decision.to` serves by now.
        failed: why it could not be made; "" when nobody tried, or it was made.
    """
    name = project.name
    evidence = {"why": decision.reason}
    command = f"fullcircle rollback {shlex.quote(name)} --reason 'version {decision.to} does better'"
    if done:
        title = f"{name}: rolled back from version {champion} to version {decision.to}"
        evidence["to undo it"] = f"fullcircle promote {shlex.quote(name)} {champion} --why 'the rollback was wrong'"
        return _incident(project, health, ROLLBACK, Severity.WARNING, title, (), evidence, links)
    title = f"{name}: version {decision.to} would do better than version {champion}, which serves"
    if failed:
        title, evidence = f"{name}: the rollback to version {decision.to} failed", {**evidence, "failed": failed}
    evidence["to roll back"] = command
    return _incident(project, health, ROLLBACK, Severity.CRITICAL, title, (), evidence, links)


def _degraded(project: Project, health: Health, links: Mapping[str, str]) -> Iterator[Incident]:
    drop, found = health.drop(), health.performance
    if drop is None or found is None or found.expected is None or drop <= project.policy.tolerated_drop:
        return
    tolerated = found.tolerated(project.policy.tolerated_drop)
    assert tolerated is not None, "something was expected"
    certain = found.best < tolerated if found.greater_is_better else found.best > tolerated
    share = "all" if certain else "not all"
    others = (project.target.metrics[name] for name in project.target.headline if name != found.primary)
    evidence = {
        found.title: f"{found.score} on {found.rows} labelled rows",
        "at release": in_digits(found.expected),
        "tolerated": f"{in_digits(tolerated)} ({share} of the interval is {found.wrong_side})",
        **{each.title: str(found.metrics[each.name]) for each in others if each.name in found.metrics},
        "drifted columns": _drifted(health),
    }
    if found.previous_gain is not None:
        as_it_is = project.target.main.gain(found.previous_gain)
        evidence["previous champion"] = f"its {found.title} {_beside(as_it_is)} on the same rows"
    off = abs(found.expected - found.score.value)
    realised = f"{in_few_digits(found.score.value)}, {in_few_digits(off)} {found.wrong_side} what it was at release"
    title = f"{project.name}: {found.title} is {realised}"
    severity = Severity.CRITICAL if certain else Severity.WARNING
    yield _incident(project, health, DEGRADED, severity, title, health.drifted[:TOP], evidence, links)


def _beside(gain: Interval) -> str:
    value, low, high = (in_digits(each, gain.largest, sign="+") for each in (gain.value, gain.low, gain.high))
    bounds = f"[{low}, {high}]"
    if not float(value):
        return f"equals the champion's to the digits shown {bounds}"
    return f"is {'higher' if gain.value > 0 else 'lower'} by {value.lstrip('+-')} {bounds}"


def _drift(project: Project, health: Health, links: Mapping[str, str]) -> Iterator[Incident]:
    if not health.is_drifted:
        return
    by_name = {column.column: column for column in health.columns}
    top = health.drifted[:TOP]
    evidence = {"drifted columns": _drifted(health), "limit": f"{health.drifted_share_limit:.0%} of the columns"}
    for name in top:
        column = by_name[name]
        evidence[name] = f"{column.method} distance {column.distance:.3f}, threshold {column.threshold:.3f}"
    if health.prediction is not None:
        moved = "drifted" if health.prediction.drifted else "did not drift"
        evidence["predictions"] = (
            f"{moved}: distance {health.prediction.distance:.3f}, threshold {health.prediction.threshold:.3f}"
        )
    title = f"{project.name}: {len(health.drifted)} of {len(health.columns)} columns drifted"
    yield _incident(project, health, DRIFT, Severity.WARNING, title, top, evidence, links)


def _quality(project: Project, health: Health, links: Mapping[str, str]) -> Iterator[Incident]:
    for issue in health.quality:
        if issue.issue == MISSING and _excess(issue) < PAGED_GAPS:
            continue
        evidence = {issue.column: f"{issue.issue}: {issue.share:.1%} of rows, {issue.reference_share:.1%} in training"}
        title = f"{project.name}: {issue.column} has {issue.share:.1%} {issue.issue}"
        severity = Severity.CRITICAL if _excess(issue) >= BROKEN_SHARE else Severity.WARNING
        column = issue.column
        yield _incident(project, health, issue.issue, severity, title, (column,), evidence, links, subject=column)


def _excess(issue: QualityIssue) -> float:
    return issue.share - issue.reference_share


def _drifted(health: Health) -> str:
    return f"{len(health.drifted)} of {len(health.columns)} ({health.drifted_share:.0%})"


def _incident(
    project: Project,
    health: Health,
    cause: str,
    severity: Severity,
    title: str,
    columns: tuple[str, ...],
    evidence: Mapping[str, str],
    links: Mapping[str, str],
    subject: str = "",
) -> Incident:
    window = health.window
    about = {"window": f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}, {window.rows} predictions"}
    about["champion"] = f"version {health.champion_version}"
    if health.versions:
        about["answered by"] = ", ".join(f"version {each.version}: {each.rows}" for each in health.versions)
    return Incident(
        key=incident_key(project.name, cause, subject),
        project=project.name,
        cause=cause,
        subject=subject,
        severity=severity,
        title=title,
        since=window.start,
        seen=window.end,
        columns=columns,
        evidence={**about, **evidence},
        links=dict(links),
    )
