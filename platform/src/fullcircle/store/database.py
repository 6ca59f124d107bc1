"""The platform's own database: one transaction at a time, migrated on first use, SQLite unless told otherwise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.settings import Settings, home_unwritable
from fullcircle.store.locks import exclusive
from fullcircle.store.schema import REVISIONS

BUSY_TIMEOUT_S = 30
_DISK = ("disk is full", "readonly database", "unable to open database file", "disk I/O error")


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

        Raises:
            HomeUnwritable: when the disk is full or read-only.
            FullcircleError: when the database does not answer, or its schema is newer than this code.
        """
        outer: Session | None = getattr(self._current, "session", None)
        if outer is not None:
            yield outer
            return
        with self._translated(), Session(self._engine(), expire_on_commit=False) as session, session.begin():
            self._current.session = session
            try:
                yield session
            finally:
                self._current.session = None

    def close(self) -> None:
        """Close the connections. The next `session` opens them again."""
        with self._guard:
            engine, self._ready = self._ready, None
        if engine is not None:
            engine.dispose()

    def _engine(self) -> Engine:
        with self._guard:
            if self._ready is None:
                engine = _open(self.settings)
                try:
                    self._migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._ready = engine
            return self._ready

    def _migrate(self, engine: Engine) -> None:
        if _revision(engine) == REVISIONS[-1]:
            return
        with exclusive(self.settings.folder("locks") / "database.lock"):
            found = _revision(engine)
            if found == REVISIONS[-1]:  # another process was faster
                return
            if found is not None and found not in REVISIONS:
                raise FullcircleError(
                    f"the database {_shown(engine)} has schema {found}, this fullcircle knows up to {REVISIONS[-1]}",
                    hint="it was written by a newer fullcircle: upgrade this one; nothing was changed",
                )
            with engine.begin() as connection:
                _upgrade(connection)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if isinstance(error, StatementError) and isinstance(error.orig, ValueError):
                raise error.orig from None  # a value that does not fit its column: the caller's mistake
            cause = str(getattr(error, "orig", None) or error).strip()
            reason = cause.splitlines()[0] if cause else type(error).__name__
            if any(sign in reason for sign in _DISK):
                raise home_unwritable(self.settings.home, OSError(reason)) from error
            shown = make_url(self.settings.database_url).render_as_string(hide_password=True)
            raise FullcircleError(
                f"the database {shown} failed ({reason})", hint="FULLCIRCLE_DATABASE_URL says which one is used"
            ) from error


def _open(settings: Settings) -> Engine:
    try:
        url = make_url(settings.database_url)
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True)
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    except (ArgumentError, ImportError) as error:
        raise UsageError(f"FULLCIRCLE_DATABASE_URL cannot be used: {error}") from error
    except OSError as error:
        raise home_unwritable(settings.home, error) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, DDL included
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # a release that was recorded survives a power cut
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_immediate(connection: Connection) -> None:
    # Deferred, two transactions that read and then write could both start, and one would fail at its write.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
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


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
