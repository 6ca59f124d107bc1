"""SQLAlchemy engines for SQLite and PostgreSQL, configured the way that the tables need it; hides passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.system.outages import is_patient

BUSY_TIMEOUT_S = 30
PATIENT_TIMEOUT_S = 2
"""Who is patient (`core.system.outages`) hears sooner that the database is locked, says so, and asks again."""
CONNECT_TIMEOUT_S = 10
MIGRATING = 0x66756C6C  # of an advisory lock: any number that nobody else takes in the same database
EXAMPLE = "postgresql://user:password@host:5432/database"


def open_engine(address: str, *, variable: str) -> Engine:
    """An engine on the database of an address; nothing is connected yet, but a SQLite file's folder is made.

    Args:
        variable: the name of the setting that the address is from, for the messages.

    Raises:
        UsageError: when the address is none, or the driver that it needs is missing or cannot be used.
        OSError: when the folder of a SQLite file cannot be made.
    """
    url = _parsed(address, variable)
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url)
        if url.get_dialect().is_async:
            raise UsageError(
                f"{variable} cannot be used: {url.drivername} is a driver for asyncio alone",
                hint="write postgresql:// without a driver",
            )
        return _postgres(url) if url.get_backend_name() == "postgresql" else create_engine(url, pool_pre_ping=True)
    except ArgumentError as error:
        raise UsageError(f"{variable} cannot be used: {error}") from error
    except ImportError as error:
        known = url.drivername == "postgresql+psycopg"
        hint = "pip install 'fullcircle[postgres]'" if known else "install its driver, or write postgresql://"
        raise UsageError(f"{variable} needs a driver that cannot be imported ({error})", hint=hint) from error


@contextlib.contextmanager
def turn(address: str, *, variable: str) -> Iterator[None]:
    """Reach a database, and while the block runs be the only one there who may change its schema.

    Raises:
        UsageError: as `open_engine`.
        FullcircleError: when it does not answer, within seconds.
    """
    engine = open_engine(address, variable=variable)
    try:
        with contextlib.ExitStack() as stack:
            try:
                lock_schema(stack.enter_context(engine.connect()))
            except SQLAlchemyError as error:
                raise failed(address, error, variable=variable) from error
            yield
    finally:
        engine.dispose()


def lock_schema(connection: Connection) -> None:
    """On PostgreSQL, wait until nobody else changes the schema: programs on other machines do not see our lock files.

    The turn ends with the connection's transaction, in whatever way that ends.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING})


def failed(address: str, error: SQLAlchemyError, *, variable: str) -> FullcircleError:
    """What the database said, in one line, without the address's password."""
    return FullcircleError(
        f"the database {shown(address)} failed ({reason(error)})", hint=f"{variable} says which one is used"
    )


def reason(error: SQLAlchemyError) -> str:
    """The first line of what the driver said: without the statement and its values."""
    cause = str(getattr(error, "orig", None) or error).strip()
    return cause.splitlines()[0] if cause else type(error).__name__


def shown(address: str) -> str:
    """The address without its password, and without its query: libpq takes a password there, too."""
    return make_url(address).set(query={}).render_as_string(hide_password=True)


def _parsed(address: str, variable: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # what they say may quote the address, password included
        raise UsageError(f"{variable} cannot be used: it is no address such as {EXAMPLE}") from None
    if "@" in (url.host or ""):  # the rest of the password would be taken, and shown, for the host
        raise UsageError(f"{variable} cannot be used: it has more than one @", hint="write %40 for one in a password")
    return url


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _postgres(url: URL) -> Engine:
    # Whoever was slower tries again and has to see what the faster one wrote, whatever the server's default is.
    return create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=_patience(url))


def _patience(url: URL) -> dict[str, Any]:
    """What psycopg is told beside the address: not to wait forever, and to speak UTF-8 with any database.

    Of a database whose encoding is SQL_ASCII, which `initdb` makes where no locale is set, psycopg would otherwise
    hand out bytes.
    """
    if url.get_driver_name() != "psycopg":
        return {}
    wanted = {"connect_timeout": CONNECT_TIMEOUT_S, "client_encoding": "utf8"}
    return {name: value for name, value in wanted.items() if name not in url.query}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, DDL included
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # a release that was recorded survives a power cut
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_immediate(connection: Connection) -> None:
    # Deferred, two transactions that read and then write could both start, and one would fail at its write.
    timeout_s = PATIENT_TIMEOUT_S if is_patient() else BUSY_TIMEOUT_S
    connection.exec_driver_sql(f"PRAGMA busy_timeout={timeout_s * 1000}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
