"""Text of a page to on-call: what is wrong, since when, how bad, where to look and what to do. Pure.

A page may go to a chat, and what it tells comes from outside: a column's name must not call a channel or add a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fullcircle.core.project import Project
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.security.untrusted import chat, safe_link

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
        title = f"[{chat(project.name)}] resolved: {chat(incident.title)}"
        return Page(title=title, body="\n".join(_resolved(incident, project)), severity=Severity.INFO)
    title = f"[{chat(project.name)}] {incident.severity.value}: {chat(incident.title)}"
    return Page(title=title, body="\n".join(_opened(incident, project)), severity=incident.severity)


def _opened(incident: Incident, project: Project) -> Iterator[str]:
    yield f"What: {chat(incident.title)}"
    yield f"Cause: {chat(incident.cause)}"
    yield f"Since: {incident.since:%Y-%m-%d %H:%M} UTC (last seen {incident.seen:%Y-%m-%d %H:%M} UTC)"
    yield f"Severity: {incident.severity.value}"
    if incident.evidence:
        yield ""
        yield "How bad:"
        yield from (f"- {chat(name)}: {chat(value)}" for name, value in incident.evidence.items())
    if incident.columns:
        yield ""
        columns = ", ".join(chat(name) for name in incident.columns[:SHOWN_COLUMNS])
        yield f"Top columns: {columns}{_more(incident)}"
    yield from _where_to_look(incident, project)


def _resolved(incident: Incident, project: Project) -> Iterator[str]:
    yield f"Over: {chat(incident.title)}"
    yield f"Since: {incident.since:%Y-%m-%d %H:%M} UTC, last seen {incident.seen:%Y-%m-%d %H:%M} UTC"
    yield "Nobody has to do anything."
    yield from _where_to_look(incident, project)


def _where_to_look(incident: Incident, project: Project) -> Iterator[str]:
    links = dict(incident.links)
    if project.runbook:
        links.setdefault("runbook", project.runbook)
    if links:
        yield ""
        yield from (f"- {chat(name)}: {_place(where)}" for name, where in links.items())
    yield ""
    yield f"Owner: {chat(project.owner)}"


def _place(where: str) -> str:
    """An address as it is, so that it can be followed, where it is one without anything that a chat takes for more."""
    plain = not set(where) & set(' <>|"`()[]*@')
    return where if plain and safe_link(where) is not None else chat(where)


def _more(incident: Incident) -> str:
    hidden = len(incident.columns) - SHOWN_COLUMNS
    return f" and {hidden} more" if hidden > 0 else ""
