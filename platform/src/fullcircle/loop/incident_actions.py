"""What on-call sees of incidents and does about them: list, show, acknowledge, silence, resolve."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import APPROVAL
from fullcircle.core.security.identity import identity
from fullcircle.loop.workspace import Workspace
from fullcircle.store.incidents.action_table import IncidentActions
from fullcircle.store.incidents.check_table import WindowChecks
from fullcircle.store.incidents.incident_table import IncidentRow, Incidents

LONGEST = timedelta(days=90)
"""Of a silence: one without end would be forgotten."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def all_incidents(project: Project, workspace: Workspace) -> list[dict[str, Any]]:
    """Every incident of a project, open ones first, then the newest."""
    now = datetime.now(UTC)
    rows = [_values(row, now) for row in Incidents(workspace.database).all(project.name)]
    newest_first = sorted(rows, key=lambda row: row["since"], reverse=True)
    return sorted(newest_first, key=lambda row: row["resolved"] is not None)


def one_incident(project: Project, workspace: Workspace, number: int) -> dict[str, Any]:
    """One incident with its evidence and what was done about it.

    Raises:
        UsageError: the project has none of this number.
    """
    row = _row(project, workspace, number)
    done = IncidentActions(workspace.database).of(number)
    return {**_values(row, datetime.now(UTC)), "evidence": dict(row.incident.evidence), "actions": done}


def undelivered(project: Project, workspace: Workspace) -> list[dict[str, Any]]:
    """The project's pages that did not arrive, oldest first: which, by which route, how often tried, and why not."""
    return [
        {
            "route": row.route,
            "kind": row.kind,
            "title": str(row.page.get("title", "")),
            "queued": row.queued,
            "attempts": row.attempts,
            "why": row.error,
        }
        for row in Incidents(workspace.database).undelivered(project.name)
    ]


def acknowledge(project: Project, workspace: Workspace, number: int, *, why: str) -> dict[str, Any]:
    """Say that somebody is at it.

    Raises:
        UsageError: there is no such incident, or it is over.
    """
    row = _open_row(project, workspace, number)
    known = identity()
    with workspace.database.session():
        IncidentActions(workspace.database).add(row, "acknowledge", why=why)
        taken = {"by": known["user"], "at": datetime.now(UTC).isoformat(), "why": why, "identity": known}
        Incidents(workspace.database).change(number, acknowledged=taken)
    return one_incident(project, workspace, number)


def silence(project: Project, workspace: Workspace, number: int, span: timedelta, *, why: str) -> dict[str, Any]:
    """Send nothing about an incident for so long.

    Raises:
        UsageError: there is no such incident, or it is over.
    """
    row = _open_row(project, workspace, number)
    until = datetime.now(UTC) + span
    with workspace.database.session():
        IncidentActions(workspace.database).add(row, "silence", why=why, until=until)
        Incidents(workspace.database).change(number, silenced=until)
    return one_incident(project, workspace, number)


def resolve(project: Project, workspace: Workspace, number: int, *, why: str) -> dict[str, Any]:
    """Close an incident by hand, and say so where it was told. What was seen until now is settled.

    Raises:
        UsageError: there is no such incident, it is over, or another command closes it.
    """
    row = _open_row(project, workspace, number)
    if row.incident.cause == APPROVAL:
        hint = f"'fullcircle approve {project.name} ...' or 'fullcircle reject {project.name} ...'"
        raise UsageError(f"incident {number} of {project.name} waits for a decision on a version", hint=hint)
    database = workspace.database
    checks = WindowChecks(database).all(project.name)
    until = max([row.incident.seen, *(check.end for check in checks[-1:])])
    with database.session():
        IncidentActions(database).add(row, "resolve", why=why, until=until)
        Incidents(database).change(number, resolved=until)
    Dispatcher(database, project, workspace.settings).flush()
    return one_incident(project, workspace, number)


def parse_span(text: str) -> timedelta:
    """`30m`, `8h` or `2d` as a span.

    Raises:
        UsageError: for anything else, for nothing, and for more than 90 days.
    """
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text.strip().lower())
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta(0)
    if not timedelta(0) < span <= LONGEST:
        raise UsageError(f"--for {text!r} is no span from 1m to {LONGEST.days}d", hint="for example --for 8h")
    return span


def _row(project: Project, workspace: Workspace, number: int) -> IncidentRow:
    rows = Incidents(workspace.database).all(project.name)
    found = next((row for row in rows if row.id == number), None)
    if found is None:
        hint = f"'fullcircle incidents {project.name}' lists those that there are"
        raise UsageError(f"{project.name} has no incident {number}", hint=hint)
    return found


def _open_row(project: Project, workspace: Workspace, number: int) -> IncidentRow:
    found = _row(project, workspace, number)
    if found.resolved is not None:
        raise UsageError(f"incident {number} of {project.name} is over since {found.resolved:%Y-%m-%d}")
    return found


def _values(row: IncidentRow, now: datetime) -> dict[str, Any]:
    incident = row.incident
    return {
        "id": row.id,
        "state": row.state(now),
        "cause": incident.cause,
        "subject": incident.subject,
        "severity": str(incident.severity),
        "title": incident.title,
        "since": incident.since,
        "seen": incident.seen,
        "resolved": row.resolved,
        "told_by": row.lead,
        "acknowledged": None if row.acknowledged is None else dict(row.acknowledged),
        "silenced": row.silenced if row.is_silent(now) else None,
        "columns": list(incident.columns),
        "links": dict(incident.links),
    }
