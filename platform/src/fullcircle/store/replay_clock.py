"""Replay clock: which projects' ledgers are those of a replay, and how far each has come in the time of the data."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from fullcircle.store.database import Database
from fullcircle.store.schema import replays


class Replays:
    """The marks of replays. A project is a replay's here from its first moment on, and stays so."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def clock(self, project: str) -> datetime | None:
        """How far the project's replay has come; None: this is no replay, the project lives on the machine's clock."""
        with self._db.session() as session:
            found = session.execute(select(replays.c.clock).where(replays.c.project == project)).scalar()
            assert found is None or isinstance(found, datetime)
            return found

    def reach(self, project: str, clock: datetime) -> None:
        """Mark the project as a replay's, which has come to this moment. The clock never goes back."""
        with self._db.session() as session:
            try:
                with session.begin_nested():
                    session.execute(insert(replays), {"project": project, "clock": clock, "begun": datetime.now(UTC)})
            except IntegrityError:
                where = (replays.c.project == project, replays.c.clock < clock)
                session.execute(update(replays).where(*where).values(clock=clock))
