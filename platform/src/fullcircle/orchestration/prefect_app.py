"""The local Prefect server's application, for `uvicorn --factory fullcircle.orchestration.prefect_app:create`.

Prefect's own server answers any Host header and any origin, and whoever can write to it can have a worker run
anything. So this one stands behind the guard of all three servers (`core.security.guard`). One server a home: the lock
on `server.lock` is held as long as the process lives, and `server.json` says where it is.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from fullcircle.core.security.guard import Application, Guard, Message, Receive, Send
from fullcircle.core.security.permissions import close_below
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import write_whole

LOCK, MARKER = "server.lock", "server.json"
OPEN_PATHS = ("/api/health", "/api/ready")
"""What Prefect answers without a token."""


def create() -> Application:
    """The guarded application. Takes the home's lock for as long as this process lives.

    Raises:
        SystemExit: when another server of the same home runs already.
    """
    from prefect.server.api.server import create_app

    home = Path(os.environ["PREFECT_HOME"])
    host = os.environ["PREFECT_SERVER_API_HOST"]
    lock = hold(home)
    if lock is None:
        raise SystemExit(f"another Prefect server of {home} runs already")
    where = {"url": os.environ["PREFECT_API_URL"], "pid": os.getpid(), "owner": os.getppid()}
    write_whole(home / MARKER, json.dumps(where))
    let_schedules_be_written()
    app = create_app(final=True)
    close_below(home / "ui")  # copied out of site-packages, with the modes that it has there
    return Holding(Guard(app, Settings.from_env().access(host), OPEN_PATHS), lock)


def let_schedules_be_written() -> None:
    """Let Prefect's scheduler write runs under SQLAlchemy 2.1, where it writes none: every schedule stays without runs.

    It inserts rows that have a `state` beside their columns, which is an attribute of the class and no column. 2.0
    passed over such a value; 2.1 asks the attribute what to do with it, and Prefect's has no answer. Ours is: nothing.
    """
    from prefect.server.database import orm_models

    for model in (orm_models.FlowRun, orm_models.TaskRun):
        state: Any = model.__mapper__.all_orm_descriptors["state"]
        if getattr(state, "bulk_dml_setter", True) is None:
            state.bulk_dml_setter = lambda cls, mapping, value: None


class Holding:
    """An ASGI application that keeps a lock open as long as it lives."""

    def __init__(self, app: Application, lock: IO[str]) -> None:
        self._app, self._lock = app, lock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self._app(scope, receive, send)


def hold(home: Path) -> IO[str] | None:
    """The home's server lock, held until it is closed or this process ends; None when another process has it."""
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
