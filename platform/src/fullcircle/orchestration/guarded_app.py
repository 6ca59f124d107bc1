"""The local Prefect server's application, for `uvicorn --factory fullcircle.orchestration.guarded_app:create`.

Prefect's own server answers any Host header and any origin, and whoever can write to it can have a worker run
anything. So this one answers only to its own names: a page on another site cannot reach it by DNS rebinding. One
server a home: the lock on `server.lock` is held as long as the process lives, and `server.json` says where it is.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import IO, Any

from fullcircle.core.files import write_whole
from fullcircle.core.permissions import close_below

LOCK, MARKER = "server.lock", "server.json"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (only compared with)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


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
    # Listening on every address was the user's choice; which names lead here is then not ours to know.
    names = None if host in EVERYWHERE else (*LOOPBACK, f"[{host}]" if ":" in host else host)
    app = create_app(final=True)
    close_below(home / "ui")  # copied out of site-packages, with the modes that it has there
    return Guarded(app, names, lock)


class Guarded:
    """An ASGI application that answers only to the given names (None: to all). Keeps `lock` open."""

    def __init__(self, app: Application, names: Iterable[str] | None, lock: IO[str] | None = None) -> None:
        self._app = app
        self._names = None if names is None else frozenset(names)
        self._lock = lock

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Pass the request on, or refuse it with 400 (a websocket: by closing it before it opens)."""
        if scope["type"] == "lifespan" or self._names is None or _host(scope) in self._names:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"this server does not answer to that Host"})


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


def _host(scope: Message) -> str:
    values: list[str] = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
    if len(values) != 1:
        return ""
    name, colon, port = values[0].rpartition(":")
    return (name if colon and port.isdigit() else values[0]).lower()
