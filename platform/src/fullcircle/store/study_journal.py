"""Append-only journal of tuning studies: lines of text, each with the next number of its study."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from fullcircle.core.errors import FullcircleError
from fullcircle.store.database import Database
from fullcircle.store.schema import studies

_ATTEMPTS = 100
"""How often to try again when another writer was faster; each time, one of them got through."""


class Studies:
    """The journals of all studies. Numbers count from 0 without a gap, however many write."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def append(self, study: str, entries: Sequence[str]) -> None:
        """Write entries down behind the others, all or none of them."""
        with self._db.session() as session:
            for _ in range(_ATTEMPTS):
                asked = select(func.count()).select_from(studies).where(studies.c.study == study)
                first = int(session.execute(asked).scalar_one())
                rows = [{"study": study, "number": first + n, "entry": entry} for n, entry in enumerate(entries)]
                try:
                    with session.begin_nested():
                        session.execute(insert(studies), rows)
                except IntegrityError:  # another writer has that number; SQLite lets only one write at a time
                    continue
                return
        raise FullcircleError(f"study {study} took no entry in {_ATTEMPTS} attempts")

    def entries(self, study: str, first: int = 0) -> list[str]:
        """The study's entries from number `first` on, oldest first."""
        with self._db.session() as session:
            same = (studies.c.study == study, studies.c.number >= first)
            return list(session.execute(select(studies.c.entry).where(*same).order_by(studies.c.number)).scalars())
