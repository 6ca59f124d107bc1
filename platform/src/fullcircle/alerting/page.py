"""Text of a page to on-call: what is wrong, since when, how bad, where to look and what to do. Pure.

A page may go to a chat, and what it tells comes from outside: a column's name must not call a channel or add a line.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fullcircle.core.project import Project
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.security.untrusted import chat, safe_link

Kind = Literal["open", "raised", "acknowledged", "escalated", "resolved"]
"""What became of the incident that a page is about; `raised`: it got worse."""

SHOWN_COLUMNS = 5
_BEFORE: Mapping[Kind, str] = {"raised": "now ", "escalated": "nobody has acknowledged "}
"""What a title says before how loud it is."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One message, and what it is about: a receiver that keeps a state of it needs nothing else.

    Attributes:
        title, body: a line, and a text that reads well as plain text and as Markdown.
        key: of the incident. It is the same on all pages about it, and when it opens anew.
        kind: what became of it.
        severity: the incident's, also when it is over.
        starts, seen, ends: since when, seen when last, and over when (None until it is), in the time of the data.
        links: what it is -> address; for people, and not all of them may lead somewhere from where they are.
        details: the evidence, as the incident has it.
    """

    title: str
    body: str
    severity: Severity
    key: str
    kind: Kind
    project: str
    cause: str
    starts: datetime
    seen: datetime
    ends: datetime | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same for the same event, however often it is sent and by whatever route (RFC 9562, version 5)."""
        when = self.ends or self.seen
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.key}\n{self.kind}\n{self.starts}\n{when}"))

    @property
    def is_over(self) -> bool:
        """Whether nobody has to do anything any more."""
        return self.kind == "resolved"

    @classmethod
    def stored(cls, plain: Mapping[str, Any]) -> Page:
        """The page that was stored as plain JSON, by `to_plain`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        times = {name: datetime.fromisoformat(plain[name]) for name in ("starts", "seen")}
        ends = datetime.fromisoformat(plain["ends"]) if plain["ends"] else None
        return cls(**{**plain, **times, "ends": ends, "severity": Severity(plain["severity"])})


def page(incident: Incident, *, kind: Kind, project: Project, ends: datetime | None = None) -> Page:
    """The page about an incident that opened, got worse, or is over.

    Args:
        ends: since when it is over, of the kind `resolved`.
    """
    if kind == "resolved":
        title = f"[{chat(project.name)}] resolved: {chat(incident.title)}"
        body = _resolved(incident, project)
    else:
        title = f"[{chat(project.name)}] {_BEFORE.get(kind, '')}{incident.severity.value}: {chat(incident.title)}"
        body = _opened(incident, project)
    return Page(
        title=title,
        body="\n".join(body),
        severity=incident.severity,
        key=incident.key,
        kind=kind,
        project=incident.project,
        cause=incident.cause,
        starts=incident.since,
        seen=incident.seen,
        ends=ends or (incident.seen if kind == "resolved" else None),
        links=_links(incident, project),
        details=incident.evidence,
    )


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
    if links := _links(incident, project):
        yield ""
        yield from (f"- {chat(name)}: {_place(where)}" for name, where in links.items())
    yield ""
    yield f"Owner: {chat(project.owner)}"


def _links(incident: Incident, project: Project) -> dict[str, str]:
    return {**({"runbook": project.runbook} if project.runbook else {}), **incident.links}


def _place(where: str) -> str:
    """An address as it is, so that it can be followed, where it is one without anything that a chat takes for more."""
    plain = not set(where) & set(' <>|"`()[]*@')
    return where if plain and safe_link(where) is not None else chat(where)


def _more(incident: Incident) -> str:
    hidden = len(incident.columns) - SHOWN_COLUMNS
    return f" and {hidden} more" if hidden > 0 else ""
