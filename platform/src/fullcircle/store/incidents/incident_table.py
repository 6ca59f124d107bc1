"""Incidents and the outbox of pages about them. A page is queued in the transaction that opens its incident."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import incidents, outbox

OVER = "resolved"
"""What stands in `told` once a page said that it is over."""


@dataclass(frozen=True, kw_only=True)
class IncidentRow:
    """An incident as it was recorded.

    Attributes:
        resolved: when it was over, in the time of the data; None while it is open.
        healthy: checks in a row that found it gone; while it is open, it recovers.
        lead: the incident whose page tells of it, which may be itself; None while no page does.
        told: of one that leads a page, how loud the page was, or `resolved`; None before.
        merged: the incident that it turned out to be a part of, when checks of earlier windows came later.
        acknowledged: who took it, when and why; None while nobody has.
        silenced: until when nothing is sent about it, on the clock.
    """

    id: int
    incident: Incident
    resolved: datetime | None
    healthy: int = 0
    lead: int | None = None
    told: str | None = None
    merged: int | None = None
    acknowledged: Mapping[str, Any] | None = None
    silenced: datetime | None = None

    @property
    def is_bad(self) -> bool:
        """Whether it is open and the newest check that could tell found it."""
        return self.resolved is None and not self.healthy

    def is_silent(self, now: datetime) -> bool:
        """Whether nothing is to be sent about it now."""
        return self.silenced is not None and now < self.silenced

    def state(self, now: datetime) -> str:
        """`open`, `acknowledged`, `silenced`, `recovering` or `resolved`."""
        if self.resolved is not None:
            return "resolved"
        if self.is_silent(now):
            return "silenced"
        if self.healthy:
            return "recovering"
        return "open" if self.acknowledged is None else "acknowledged"


@dataclass(frozen=True, kw_only=True)
class PageRow:
    """A page that waits in the outbox.

    Attributes:
        route: the name of a route, never its URL, which may hold a secret.
        kind: `open`, `raised`, `escalated` or `resolved`.
        page: title and body, as plain JSON.
        error: why the last attempt failed, else "".
    """

    id: int
    incident: int
    project: str
    route: str
    kind: str
    page: Mapping[str, Any]
    queued: datetime
    attempts: int
    error: str


class Incidents:
    """Incidents, exactly one open a key (the database itself holds that), and what on-call is to hear of them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def see(self, incident: Incident, **more: Any) -> tuple[int, bool]:
        """Open the incident, or bring the open one with its key up to date. Returns (id, whether newly opened).

        `since` stays that of the opening.

        Args:
            more: other fields of the row: `healthy`, `lead`, `told`.
        """
        values = _values(incident) | more
        with self._db.session() as session:
            known = self._open_id(incident.key)
            if known is None:
                try:
                    with session.begin_nested():
                        made = session.execute(insert(incidents).returning(incidents.c.id), values)
                        return int(made.scalar_one()), True
                except IntegrityError:  # another process opened it since we looked
                    known = self._open_id(incident.key)
                    if known is None:
                        raise
            del values["since"]
            session.execute(update(incidents).where(incidents.c.id == known).values(values))
            return known, False

    def add_past(self, incident: Incident, resolved: datetime) -> int:
        """Record an incident that was over before anybody looked; nobody is told of it."""
        with self._db.session() as session:
            values = _values(incident) | {"resolved": resolved}
            return int(session.execute(insert(incidents).returning(incidents.c.id), values).scalar_one())

    def change(self, number: int, **fields: Any) -> None:
        """Set fields of a row: `resolved`, `healthy`, `lead`, `told`, `merged`, `silenced`, `acknowledged`."""
        with self._db.session() as session:
            session.execute(update(incidents).where(incidents.c.id == number).values(fields))

    def bring_up_to_date(self, number: int, incident: Incident) -> None:
        """What is known of the incident by now."""
        self.change(number, **_values(incident))

    def open(self, project: str) -> list[IncidentRow]:
        """The project's open incidents, oldest first."""
        return [row for row in self.all(project) if row.resolved is None]

    def all(self, project: str) -> list[IncidentRow]:
        """All incidents of a project, oldest first, without those that turned out to be a part of another one."""
        with self._db.session() as session:
            of = (incidents.c.project == project, incidents.c.merged.is_(None))
            asked = select(incidents).where(*of).order_by(incidents.c.id)
            return [_row(each) for each in session.execute(asked).mappings()]

    def queue(self, incident_id: int, route: str, kind: str, page: Mapping[str, Any]) -> None:
        """Put a page into the outbox; once only for the same incident, route and kind.

        Args:
            route: a name for the route, not its URL.
        """
        with self._db.session() as session:
            if self._is_queued(incident_id, route, kind):
                return
            values = {"incident": incident_id, "route": route, "kind": kind, "page": to_plain(page)}
            later = {"queued": datetime.now(UTC), "attempts": 0, "error": "", "delivered": None}
            try:
                with session.begin_nested():
                    session.execute(insert(outbox), values | later)
            except IntegrityError:  # another process queued it since we looked
                if not self._is_queued(incident_id, route, kind):
                    raise

    def undelivered(self, project: str | None = None) -> list[PageRow]:
        """Pages that wait, oldest first: of one project or of all."""
        of = () if project is None else (incidents.c.project == project,)
        return self._pages(outbox.c.delivered.is_(None), *of)

    def announced(self, project: str) -> list[PageRow]:
        """The newest page that arrived at each route about whatever is not over, oldest first."""
        stands = (incidents.c.told.is_not(None), incidents.c.told != OVER)
        arrived = (outbox.c.delivered.is_not(None), incidents.c.project == project, *stands)
        newest = {(row.incident, row.route): row for row in self._pages(*arrived)}
        return sorted(newest.values(), key=lambda row: row.id)

    def delivered(self, page_id: int) -> None:
        """Record that a page arrived."""
        with self._db.session() as session:
            values = {"delivered": datetime.now(UTC), "attempts": outbox.c.attempts + 1, "error": ""}
            session.execute(update(outbox).where(outbox.c.id == page_id).values(values))

    def failed(self, page_id: int, why: str) -> None:
        """Record that a page did not arrive, and why; it stays in the outbox."""
        with self._db.session() as session:
            values = {"attempts": outbox.c.attempts + 1, "error": why}
            session.execute(update(outbox).where(outbox.c.id == page_id).values(values))

    def _pages(self, *where: ColumnElement[bool]) -> list[PageRow]:
        with self._db.session() as session:
            asked = select(outbox, incidents.c.project).join(incidents, incidents.c.id == outbox.c.incident)
            rows = session.execute(asked.where(*where).order_by(outbox.c.id)).mappings()
            return [PageRow(**{name: row[name] for name in PageRow.__dataclass_fields__}) for row in rows]

    def routes_told(self, incident_id: int) -> set[str]:
        """Names of the routes for which a page about this incident was queued."""
        with self._db.session() as session:
            asked = select(outbox.c.route).where(outbox.c.incident == incident_id)
            return {str(route) for route in session.execute(asked).scalars()}

    def first_told(self, incident_id: int) -> datetime | None:
        """When the first page about this incident was queued; None before."""
        with self._db.session() as session:
            asked = select(outbox.c.queued).where(outbox.c.incident == incident_id).order_by(outbox.c.id).limit(1)
            found: datetime | None = session.execute(asked).scalar()
            return found

    def _is_queued(self, incident_id: int, route: str, kind: str) -> bool:
        with self._db.session() as session:
            same = (outbox.c.incident == incident_id, outbox.c.route == route, outbox.c.kind == kind)
            return session.execute(select(outbox.c.id).where(*same)).first() is not None

    def _open_id(self, key: str) -> int | None:
        with self._db.session() as session:
            where = (incidents.c.key == key, incidents.c.resolved.is_(None))
            found = session.execute(select(incidents.c.id).where(*where)).scalar()
            return None if found is None else int(found)


_SIMPLE = ("key", "project", "cause", "subject", "title", "since", "seen")
_STATE = ("id", "resolved", "healthy", "lead", "told", "merged", "acknowledged", "silenced")


def _values(incident: Incident) -> dict[str, Any]:
    values = {name: getattr(incident, name) for name in _SIMPLE}
    shaped = {name: to_plain(getattr(incident, name)) for name in ("columns", "evidence", "links")}
    return values | shaped | {"severity": incident.severity.value}


def _row(row: RowMapping) -> IncidentRow:
    incident = Incident(
        severity=Severity(row["severity"]),
        columns=tuple(row["columns"]),
        evidence=row["evidence"],
        links=row["links"],
        **{name: row[name] for name in _SIMPLE},
    )
    return IncidentRow(incident=incident, **{name: row[name] for name in _STATE})
