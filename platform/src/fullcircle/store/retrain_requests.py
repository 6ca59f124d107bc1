"""Retrain requests by idempotency key: what a budget counts, and what keeps one request from being done twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, RowMapping, insert, select, update

from fullcircle.store.database import Database
from fullcircle.store.schema import retrains


class RetrainSource(StrEnum):
    """Who asks for a retrain."""

    HAND = "hand"
    SCHEDULE = "schedule"
    EVENT = "event"


class RetrainState(StrEnum):
    """How far it came. Only RUNNING and DONE count against a budget."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    RETURNED = "returned"
    """It ended without comparing anything, or was cut short: the next one with this key does it."""


@dataclass(frozen=True, kw_only=True)
class RetrainRow:
    """A retrain that was asked for.

    Attributes:
        key: names the wish: the same one asked for again, however often, is the same retrain.
        at: when, in the project's time (of a replay: the time of the data).
        asked: when, by the machine's clock.
        counts: whether it is held against the budget: the first training of a project is not, nothing drifted yet.
        said: why it was refused or given back; else "".
    """

    project: str
    key: str
    source: RetrainSource
    reason: str
    at: datetime
    asked: datetime
    state: RetrainState
    counts: bool
    said: str

    @property
    def is_spent(self) -> bool:
        """Whether the budget is one less for it."""
        return self.counts and self.state in (RetrainState.RUNNING, RetrainState.DONE)


class Retrains:
    """The retrains of all projects that were asked for. Call what writes while holding the project's lease."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self, project: str) -> list[RetrainRow]:
        """Those of a project, oldest first in its time."""
        with self._db.session() as session:
            asked = select(retrains).where(retrains.c.project == project).order_by(retrains.c.at, retrains.c.asked)
            return [_row(each) for each in session.execute(asked).mappings()]

    def get(self, project: str, key: str) -> RetrainRow | None:
        """The one with that key, or None."""
        return next((row for row in self.all(project) if row.key == key), None)

    def begin(self, project: str, key: str, *, source: RetrainSource, reason: str, at: datetime, counts: bool) -> None:
        """Note that it begins. One with this key that was refused or given back begins anew."""
        values = {
            "source": str(source),
            "reason": reason,
            "at": at,
            "asked": datetime.now(UTC),
            "state": str(RetrainState.RUNNING),
            "counts": counts,
            "said": "",
        }
        with self._db.session() as session:
            if self.get(project, key) is None:
                session.execute(insert(retrains), {"project": project, "key": key, **values})
            else:
                session.execute(update(retrains).where(*_same(project, key)).values(**values))

    def end(self, project: str, key: str, state: RetrainState, said: str = "") -> None:
        """Note how it ended. Safe to call twice."""
        with self._db.session() as session:
            session.execute(update(retrains).where(*_same(project, key)).values(state=str(state), said=said))

    def cut_short(self, project: str) -> None:
        """Give back those that are said to be running: whoever holds the lease and began none knows that none is."""
        for row in self.all(project):
            if row.state is RetrainState.RUNNING:
                self.end(project, row.key, RetrainState.RETURNED, "it was cut short")


def _same(project: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (retrains.c.project == project, retrains.c.key == key)


def _row(row: RowMapping) -> RetrainRow:
    names = ("project", "key", "reason", "at", "asked", "said")
    return RetrainRow(
        source=RetrainSource(row["source"]),
        state=RetrainState(row["state"]),
        counts=bool(row["counts"]),
        **{name: row[name] for name in names},
    )
