"""Table of what humans did about incidents: acknowledged, silenced, resolved; who, when and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import insert, select

from fullcircle.core.security.identity import identity
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import IncidentRow
from fullcircle.store.schema import incident_actions

Action = Literal["acknowledge", "silence", "resolve"]


class IncidentActions:
    """Append-only: what was done stays, whatever becomes of the incident."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, row: IncidentRow, action: Action, *, why: str, until: datetime | None = None) -> None:
        """Write down what was done: by whom (see `core.security.identity`), when, and why.

        Args:
            until: of a silence when it ends, on the clock; of a resolution the end of the newest window that was
                checked: whatever that window showed is settled.
        """
        with self._db.session() as session:
            values = {"incident": row.id, "key": row.incident.key, "project": row.incident.project, "action": action}
            known = {"at": datetime.now(UTC), "until": until, "why": why, "identity": identity()}
            session.execute(insert(incident_actions), values | known)

    def of(self, number: int) -> list[dict[str, Any]]:
        """What humans did about an incident, oldest first: `action`, `at`, `until`, `why`, `identity`."""
        names = ("action", "at", "until", "why", "identity")
        with self._db.session() as session:
            same = incident_actions.c.incident == number
            asked = select(incident_actions).where(same).order_by(incident_actions.c.id)
            return [{name: row[name] for name in names} for row in session.execute(asked).mappings()]

    def closings(self, project: str) -> dict[str, list[datetime]]:
        """Key -> ends of the windows with which somebody closed such an incident by hand."""
        with self._db.session() as session:
            of = (incident_actions.c.project == project, incident_actions.c.action == "resolve")
            found: dict[str, list[datetime]] = {}
            for row in session.execute(select(incident_actions).where(*of)).mappings():
                found.setdefault(row["key"], []).append(row["until"])
            return found
