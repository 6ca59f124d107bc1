"""What on-call reads: what is wrong, since when, how bad, where to look and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fullcircle.core.health import Incident, Severity
from fullcircle.core.project import Project

Kind = Literal["open", "resolved"]

SHOWN_COLUMNS = 5


@dataclass(frozen=True, kw_only=True)
class Page:
    """One message: a title of one line and a body that reads well as plain text and as Markdown."""

    title: str
    body: str
    severity: Severity


def page(incident: Incident, *, kind: Kind, project: Project) -> Page:
    """The page about an incident that opened, or that is over."""
    if kind == "resolved":
        title = f"[{project.name}] resolved: {incident.title}"
        return Page(title=title, body="\n".join(_resolved(incident, project)), severity=Severity.INFO)
    title = f"[{project.name}] {incident.severity.value}: {incident.title}"
    return Page(title=title, body="\n".join(_opened(incident, project)), severity=incident.severity)


def _opened(incident: Incident, project: Project) -> Iterator[str]:
    yield f"What: {incident.title}"
    yield f"Cause: {incident.cause}"
    yield f"Since: {incident.since:%Y-%m-%d %H:%M} UTC (last seen {incident.seen:%Y-%m-%d %H:%M} UTC)"
    yield f"Severity: {incident.severity.value}"
    if incident.evidence:
        yield ""
        yield "How bad:"
        yield from (f"- {name}: {value}" for name, value in incident.evidence.items())
    if incident.columns:
        yield ""
        yield f"Top columns: {', '.join(incident.columns[:SHOWN_COLUMNS])}{_more(incident)}"
    yield from _where_to_look(incident, project)


def _resolved(incident: Incident, project: Project) -> Iterator[str]:
    yield f"Over: {incident.title}"
    yield f"Since: {incident.since:%Y-%m-%d %H:%M} UTC, last seen {incident.seen:%Y-%m-%d %H:%M} UTC"
    yield "Nobody has to do anything."
    yield from _where_to_look(incident, project)


def _where_to_look(incident: Incident, project: Project) -> Iterator[str]:
    links = dict(incident.links)
    if project.runbook:
        links.setdefault("runbook", project.runbook)
    if links:
        yield ""
        yield from (f"- {name}: {where}" for name, where in links.items())
    yield ""
    yield f"Owner: {project.owner}"


def _more(incident: Incident) -> str:
    hidden = len(incident.columns) - SHOWN_COLUMNS
    return f" and {hidden} more" if hidden > 0 else ""
