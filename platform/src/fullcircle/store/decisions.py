"""Table of decisions: what was decided for each window, why, and on which evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select
from sqlalchemy.exc import IntegrityError

from fullcircle.core.records.health import Decision, Keep, Retrain, Rollback
from fullcircle.core.security.identity import identity
from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import decisions


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """A decision as it was recorded.

    Attributes:
        at: when, in the time of the data.
        recorded: when, on the clock.
        evidence: the numbers that it rests on, as plain JSON.
        facts: what it rests on, in short: asked with other facts, a window is decided on again.
        identity: what is known of whoever decided it, see `core.security.identity`; None for one from before that was
            kept.
    """

    id: int
    project: str
    window: str
    decision: Decision
    at: datetime
    recorded: datetime
    evidence: Mapping[str, Any]
    identity: Mapping[str, Any] | None = None
    facts: str = ""


class Decisions:
    """The record of decisions: one a project, window and facts, of which the first one stands."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(
        self,
        project: str,
        window: str,
        decision: Decision,
        *,
        at: datetime,
        evidence: Mapping[str, Any],
        facts: str = "",
    ) -> int:
        """Record a decision and return its id. A window that has one with these facts keeps it: that one's id."""
        values = {
            "project": project,
            "window": window,
            "kind": type(decision).__name__.lower(),
            "reason": decision.reason,
            "target": decision.to if isinstance(decision, Rollback) else None,
            "at": at,
            "recorded": datetime.now(UTC),
            "evidence": to_plain(evidence),
            "identity": identity(),
            "facts": facts,
        }
        with self._db.session() as session:
            known = self._id(project, window, facts)
            if known is None:
                try:
                    with session.begin_nested():
                        made = session.execute(insert(decisions).returning(decisions.c.id), values)
                        return int(made.scalar_one())
                except IntegrityError:  # another process decided it since we looked
                    known = self._id(project, window, facts)
                    if known is None:
                        raise
            return known

    def get(self, project: str, window: str) -> DecisionRow | None:
        """The newest decision for a window, or None."""
        return max((row for row in self.all(project) if row.window == window), key=lambda row: row.id, default=None)

    def all(self, project: str) -> list[DecisionRow]:
        """All decisions on a project, oldest first in the time of the data."""
        with self._db.session() as session:
            asked = select(decisions).where(decisions.c.project == project).order_by(decisions.c.at, decisions.c.id)
            return [_row(each) for each in session.execute(asked).mappings()]

    def retrains(self, project: str) -> tuple[datetime, ...]:
        """When retrains were decided, in the time of the data, oldest first, each window's once: what cooldown and
        budget count."""
        windows = {row.window: row.at for row in self.all(project) if isinstance(row.decision, Retrain)}
        return tuple(sorted(windows.values()))

    def clear(self, project: str) -> None:
        """Forget a project's decisions: for a replay that starts over."""
        with self._db.session() as session:
            session.execute(delete(decisions).where(decisions.c.project == project))

    def _id(self, project: str, window: str, facts: str) -> int | None:
        with self._db.session() as session:
            same = (decisions.c.project == project, decisions.c.window == window, decisions.c.facts == facts)
            found = session.execute(select(decisions.c.id).where(*same)).scalar()
            return None if found is None else int(found)


def _row(row: RowMapping) -> DecisionRow:
    decision: Decision
    match row["kind"]:
        case "retrain":
            decision = Retrain(reason=row["reason"])
        case "rollback":
            decision = Rollback(to=row["target"], reason=row["reason"])
        case _:
            decision = Keep(reason=row["reason"])
    names = ("id", "project", "window", "at", "recorded", "evidence", "identity", "facts")
    return DecisionRow(decision=decision, **{name: row[name] for name in names})
