"""The platform's own database: one transaction at a time, migrated on first use, SQLite unless told otherwise."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from fullcircle.core.errors import DatabaseAway, FullcircleError
from fullcircle.core.settings import Settings, home_unwritable
from fullcircle.core.system.outages import wait_out
from fullcircle.store.engine import failed, lock_schema, open_engine, reason, shown
from fullcircle.store.file_locks import exclusive
from fullcircle.store.schema import REVISIONS

VARIABLE = "FULLCIRCLE_DATABASE_URL"
_DISK = ("disk is full", "readonly database", "unable to open database file", "disk I/O error")
_LOCKED = ("database is locked", "database table is locked")
_GONE = re.compile(r"refused|closed the connection|reset by peer|timeout|timed out|starting up|shutting down|no route")
_answered: set[str] = set()
"""Addresses of databases that answered this program."""


class Database:
    """The settings' database. Nothing is opened before the first `session`. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._guard = threading.Lock()
        self._ready: Engine | None = None
        self._current = threading.local()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on an exception. Within another one of the same
        thread it is part of that one, so several steps can be made to happen together or not at all.

        Its beginning waits for a database that is away where a use case is patient (`core.system.outages`).

        Raises:
            HomeUnwritable: when the disk is full or read-only.
            DatabaseAway: when it does not answer, or somebody else holds it for long.
            FullcircleError: when the database cannot be used, or its schema is newer than this code.
        """
        outer: Session | None = getattr(self._current, "session", None)
        if outer is not None:
            yield outer
            return
        with wait_out(self._begun) as session, self._translated(), _ended(session):
            self._current.session = session
            try:
                yield session
            finally:
                self._current.session = None

    def _begun(self) -> Session:
        """A session whose transaction is open: from here on nobody else is in the way."""
        with self._translated():
            session = Session(self._engine(), expire_on_commit=False)
            try:
                session.connection()
            except BaseException:
                session.close()
                raise
        _answered.add(self.settings.database_url)
        return session

    def close(self) -> None:
        """Close the connections. The next `session` opens them again."""
        with self._guard:
            engine, self._ready = self._ready, None
        if engine is not None:
            engine.dispose()

    def _engine(self) -> Engine:
        with self._guard:
            if self._ready is None:
                engine = self._open()
                try:
                    self._migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._ready = engine
            return self._ready

    def _migrate(self, engine: Engine) -> None:
        with engine.connect() as connection:
            if _revision(connection) == REVISIONS[-1]:
                return
        with exclusive(self.settings.folder("locks") / "database.lock"), engine.begin() as connection:
            lock_schema(connection)
            found = _revision(connection)
            if found == REVISIONS[-1]:  # another process was faster
                return
            if found is not None and found not in REVISIONS:
                raise FullcircleError(
                    f"the database {shown(self.settings.database_url)} has schema {found}, this fullcircle knows up to "
                    f"{REVISIONS[-1]}",
                    hint="it was written by a newer fullcircle: upgrade this one; nothing was changed",
                )
            _upgrade(connection)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if isinstance(error, StatementError) and isinstance(error.orig, ValueError):
                raise error.orig from None  # a value that does not fit its column: the caller's mistake
            if any(sign in reason(error) for sign in _DISK):
                raise home_unwritable(self.settings.home, OSError(reason(error))) from error
            if isinstance(error, OperationalError) and (why := self._away(reason(error))):
                raise _database_away(self.settings.database_url, why) from error
            raise failed(self.settings.database_url, error, variable=VARIABLE) from error

    def _away(self, said: str) -> str:
        """Why the database cannot be had at this moment; "" for every other trouble, and for a server that never
        answered this program: whoever starts it with a wrong address is to read that at once."""
        if any(sign in said for sign in _LOCKED):
            return "another program holds it locked"
        return said if self.settings.database_url in _answered and _GONE.search(said) else ""

    def _open(self) -> Engine:
        self.settings.folder()  # first, and not as SQLite's folder: a home is made with a .gitignore
        try:
            return open_engine(self.settings.database_url, variable=VARIABLE)
        except OSError as error:
            raise home_unwritable(self.settings.home, error) from error


@contextlib.contextmanager
def _ended(session: Session) -> Iterator[None]:
    """Commit at the end, roll back on an exception."""
    try:
        yield
        session.commit()
    except BaseException:
        session.rollback()
        raise


def _database_away(address: str, why: str) -> DatabaseAway:
    whom = f"the database {shown(address)}"
    hint = f"nothing was changed by this; {VARIABLE} says which one is used"
    return DatabaseAway(f"{whom} failed ({why})", hint=hint, whom=whom, why=why)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
