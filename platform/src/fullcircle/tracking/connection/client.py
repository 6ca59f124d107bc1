"""MLflow client: connects, migrates its SQLite database once and quietly, and translates its errors."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import unquote

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings, home_unwritable, sqlite_address
from fullcircle.core.system.outages import wait_out
from fullcircle.store.file_locks import exclusive
from fullcircle.tracking.connection.connectivity import probe_pending, require_listening
from fullcircle.tracking.connection.relocation import moved_from, settle_tracking
from fullcircle.tracking.connection.retrying_client import RetryingClient

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

logger = logging.getLogger(__name__)
_SQLITE = "sqlite:///"
_POSTGRES = "postgresql"
_SYSTEM = re.compile(r"(?<=\] )[A-Z][A-Za-z ]+|timed out")  # as in "[Errno 111] Connection refused"
# To the last @ of the word, since a password may hold one, or a slash; and where libpq takes one in the query.
_CREDENTIALS = re.compile(r"(?<=://)\S*@|(?<=password=)[^&\s]*")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO)
"""Errors of the operating system that mean: this folder cannot be written."""

_CALLERS_FAULT = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")
_TOOLS = {"mlflow", "sqlalchemy", "requests", "urllib3", "sqlite3", "alembic"}
_DISK = ("disk is full", "readonly database", "unable to open database file", "disk I/O error")
_LOCKED = ("database is locked", "database table is locked")
ANSWERED_WORTH_S = 600.0
"""A server that answers, and answers that it failed, is waited for no longer: it may do so for ever."""


def connect(settings: Settings) -> MlflowClient:
    """A client on the settings' tracking store, which is also the registry. Raises TrackingUnavailable.

    The first connection ever makes the SQLite file; later ones take about 2 ms once MLflow is imported. Where a use
    case is patient (`core.system.outages`), a store that is away is waited for, here and in every call of the client.
    """
    if is_server(settings) and probe_pending():
        return retrying(settings, _connected(settings))
    return retrying(settings, wait_out(lambda: _connected(settings)))


def _connected(settings: Settings) -> MlflowClient:
    # MLflow would repeat a refused connection for minutes; a user wants to read why after seconds.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    with translated(settings, "connecting"):
        if is_server(settings):
            require_listening(settings.tracking_uri)
            if settings.token:  # what our own server asks for; whoever has another one has set it
                os.environ.setdefault("MLFLOW_TRACKING_TOKEN", settings.token)
        from mlflow import MlflowClient

        for name in ("mlflow.system_metrics", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It logs each error of the database with its traceback, and raises it: the one line is ours to say.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        database = sqlite_file(settings)
        if database is not None and not database.exists():
            _create(settings, database)
        settled(settings)
        with _turn(settings):
            client = MlflowClient(settings.tracking_uri, registry_uri=settings.tracking_uri)
            client.search_experiments(max_results=1)
        return client


def sqlite_file(settings: Settings) -> Path | None:
    """The SQLite file that holds the tracking store, or None when it is a server or another database."""
    uri = settings.tracking_uri
    return Path(unquote(uri.removeprefix(_SQLITE))) if uri.startswith(_SQLITE) and "?" not in uri else None


def settled(settings: Settings) -> None:
    """Mend the paths in MLflow's SQLite file when the home that it lies in was moved or copied. Cheap when it was not.

    A database elsewhere is left as it is, and a line says what its rows name. Raises as `translated`.
    """
    if is_server(settings):  # it names the artifacts, wherever the home lies
        return
    database = sqlite_file(settings)
    with translated(settings, "looking whether its home was moved"):
        if database is not None and database.resolve().is_relative_to(settings.home):
            settle_tracking(settings, database)
        elif former := moved_from(settings):
            logger.warning(
                "this home lay in %s: runs in %s name its artifacts there, and cannot be read from %s; move it back",
                *(former, address(settings), settings.home),
            )


def artifact_root(settings: Settings) -> Path | None:
    """Where artifacts go while the store is a database that we open ourselves; None: the server says where."""
    return settings.folder("mlartifacts") if settings.tracking_uri.startswith(("sqlite:", _POSTGRES)) else None


@contextlib.contextmanager
def translated(settings: Settings, doing: str) -> Iterator[None]:
    """Turn whatever MLflow raises while `doing` into one line of ours.

    Raises:
        UsageError: when MLflow says that what we asked for is wrong, or asks for credentials.
        HomeUnwritable: when the disk is full or read-only.
        TrackerAway: when a server does not answer, or says that it cannot at this moment.
        TrackingUnavailable: for all the rest.
    """
    settings.require_there()  # MLflow makes the folder of its database where it is missing
    try:
        yield
    except FullcircleError:
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise home_unwritable(settings.home, error) from error
        if isinstance(error, FileNotFoundError):  # the caller named a file that is not there
            raise
        raise (_of_server if is_server(settings) else _unavailable)(settings, doing, error) from error
    except Exception as error:
        if not _from_a_tool(error):
            raise
        if is_server(settings):
            raise _of_server(settings, doing, error) from error
        if any(sign in str(error) for sign in _DISK):
            raise home_unwritable(settings.home, OSError(_first_line(error))) from error
        if any(sign in str(error) for sign in _LOCKED):
            raise _locked(settings, doing) from error
        if getattr(error, "error_code", "") in _CALLERS_FAULT:
            raise UsageError(f"MLflow refused {doing}: {_first_line(error)}") from error
        raise _unavailable(settings, doing, error) from error


def retrying(settings: Settings, tool: T) -> T:
    """A client of MLflow, or another of its objects that asks the server, which waits where a use case is patient."""
    return cast(T, RetryingClient(tool, partial(away, settings), settings.tracking_uri))


def away(settings: Settings, doing: str, error: Exception) -> TrackerAway | None:
    """What an error means that says that the store cannot be had at this moment; None for every other one."""
    if isinstance(error, (FileNotFoundError, FullcircleError)):
        return error if isinstance(error, TrackerAway) else None
    try:
        with translated(settings, doing):
            raise error
    except TrackerAway as found:
        return found
    except Exception:  # noqa: BLE001 - another one, which the caller raises as it is
        return None


@contextlib.contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """Let one program at a time make MLflow's tables in a PostgreSQL, which two of them cannot do at once.

    It also says within seconds that the server does not answer: MLflow asks ten times, for 100 s, and logs each.
    """
    with contextlib.ExitStack() as stack:
        if settings.tracking_uri.startswith(_POSTGRES):
            from fullcircle.store.engine import turn

            try:
                stack.enter_context(turn(settings.tracking_uri, variable="MLFLOW_TRACKING_URI"))
            except UsageError:
                raise
            except FullcircleError as error:
                raise TrackingUnavailable(error.what, hint=error.hint) from error
        yield


def _create(settings: Settings, database: Path) -> None:
    # Made aside and moved into place: a kill in the middle of MLflow's 40 migrations would leave a file
    # that neither works nor can be migrated further.
    settings.folder()
    with exclusive(settings.folder("locks") / "mlflow-create.lock"):
        if database.exists():
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        fresh = database.with_name(database.name + ".new")
        for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm"), Path(f"{fresh}-journal")):
            leftover.unlink(missing_ok=True)
        with _undisturbed_logging():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            root = (settings.home / "mlartifacts").as_uri()
            store = SqlAlchemyStore(sqlite_address(fresh), root)  # type: ignore[no-untyped-call]
            store.engine.dispose()
        with contextlib.closing(sqlite3.connect(fresh)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # the UI reads while a run writes
        os.replace(fresh, database)


@contextlib.contextmanager
def _undisturbed_logging() -> Iterator[None]:
    # MLflow's migrations call logging.config.fileConfig, which replaces the root handlers of whoever called us.
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers, level = list(root.handlers), root.level
    # It also disables every logger that is there by then: ours would be silent for the rest of the process.
    heard = [
        each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger) and not each.disabled
    ]
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
        for each in heard:
            each.disabled = False


def _from_a_tool(error: Exception) -> bool:
    module = type(error).__module__
    return module.split(".")[0] in _TOOLS or module == "fullcircle.tracking.connection.rest"


def is_server(settings: Settings) -> bool:
    """Whether the tracking store is a server, which may be away; else it is a database that we open ourselves."""
    return settings.tracking_uri.startswith(("http://", "https://"))


def address(settings: Settings) -> str:
    """The tracking store's address without the credentials that may be in it."""
    return _CREDENTIALS.sub("", settings.tracking_uri)


def _of_server(settings: Settings, doing: str, error: Exception) -> FullcircleError:
    """What a server's answer, or its silence, means. A disk that is full is its own, not ours."""
    answer = getattr(error, "response", None)  # of requests, from which MLflow hears of artifacts
    silent = 503 if answer is None else int(answer.status_code)
    status = int(getattr(error, "get_http_status_code", lambda: silent)())
    if status in (401, 403):
        why = f"it got no credentials, or not the right ones (HTTP {status})"
        return UsageError(
            f"MLflow at {address(settings)} refused {doing}: {why}",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            "FULLCIRCLE_TOKEN where 'fullcircle ui' serves it",
        )
    if getattr(error, "error_code", "") in _CALLERS_FAULT:
        return UsageError(f"MLflow refused {doing}: {_first_line(error)}")
    found = _unavailable(settings, doing, error)
    if status in (408, 429) or status >= 500:
        whom = f"the tracking server at {address(settings)}"
        answered = answer is not None or any(hasattr(error, word) for word in ("json", "status"))
        worth_s = ANSWERED_WORTH_S if status == 500 and answered else math.inf
        return TrackerAway(found.what, hint=found.hint, whom=whom, why=_first_line(error), worth_s=worth_s)
    return TrackingUnavailable(found.what)  # it is up: it said no


def _locked(settings: Settings, doing: str) -> TrackerAway:
    whom, why = f"MLflow's database {address(settings)}", "another program holds it locked"
    hint = "wait for it, or find it with 'fuser' or 'lsof'; nothing was lost"
    return TrackerAway(f"{whom} failed while {doing}: {why}", hint=hint, whom=whom, why=why)


def _unavailable(settings: Settings, doing: str, error: Exception) -> TrackingUnavailable:
    hint = "is the server of MLFLOW_TRACKING_URI up?" if is_server(settings) else ""
    return TrackingUnavailable(f"MLflow at {address(settings)} failed while {doing}: {_first_line(error)}", hint=hint)


def _first_line(error: Exception) -> str:
    # MLflow repeats the whole address, password included, in its own messages.
    lines = _CREDENTIALS.sub("", str(error)).strip().splitlines()
    if not lines:
        return type(error).__name__
    # Of a server that cannot be reached, the system's own words say all; around them are 300 of three libraries.
    system = _SYSTEM.findall(lines[0]) if "Max retries exceeded" in lines[0] else []
    return system[-1].lower() if system else lines[0][:500]
