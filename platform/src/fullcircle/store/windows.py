"""Table of monitored windows: one row of plain JSON a project and window."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import windows


class Windows:
    """The rows of the month table, kept so that a replay that was killed goes on where it was."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, project: str, window: str, *, at: datetime, row: Mapping[str, Any]) -> None:
        """Keep the window's row, in place of an earlier one. Values become plain JSON; NaN becomes null."""
        values = {"project": project, "window": window, "at": at, "row": to_plain(row)}
        same = (windows.c.project == project, windows.c.window == window)
        with self._db.session() as session:
            for attempt in range(2):
                session.execute(delete(windows).where(*same))
                try:
                    with session.begin_nested():
                        session.execute(insert(windows), values)
                except IntegrityError:  # another process kept its row since we looked: ours comes later
                    if attempt:
                        raise
                else:
                    return

    def get(self, project: str, window: str) -> dict[str, Any] | None:
        """The window's row, or None."""
        with self._db.session() as session:
            same = (windows.c.project == project, windows.c.window == window)
            found = session.execute(select(windows.c.row).where(*same)).scalar()
            return None if found is None else dict(found)

    def all(self, project: str) -> list[dict[str, Any]]:
        """All rows of a project, sorted by the name of the window, which sorts by time."""
        with self._db.session() as session:
            asked = select(windows.c.window, windows.c.row).where(windows.c.project == project)
            found = session.execute(asked).all()
        # Sorted here: PostgreSQL sorts text by the rules of its database's language.
        return [dict(row) for _, row in sorted(found, key=lambda each: each[0])]

    def clear(self, project: str) -> None:
        """Forget a project's windows: for a replay that starts over."""
        with self._db.session() as session:
            session.execute(delete(windows).where(windows.c.project == project))
