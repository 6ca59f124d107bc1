"""One TCP probe before MLflow's slow retries, while a user waits in front of a terminal.

MLflow's client asks four times, with pauses: 15 s for a closed port, over two minutes for a host that drops packets.
That is right for a flow at night and for a tracker that goes away during a command, and silence for whoever just typed
one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

LISTENS_WITHIN_S = 4.0
"""The system accepts a connection for a server, however slow that is to answer, and sends a packet that was lost again
twice in this time."""


class _Waiting:
    """Somebody waits for the first sign of the tracker."""

    over = False


_waiting: ContextVar[_Waiting | None] = ContextVar("fullcircle_waiting", default=None)


@contextlib.contextmanager
def user_is_waiting() -> Iterator[None]:
    """In this block, and until the tracker was there once, a tracker that cannot be reached is told at once.

    What was there when a command began is worth a pause when it goes away later. Threads that the block starts are
    patient, too.
    """
    token = _waiting.set(_Waiting())
    try:
        yield
    finally:
        _waiting.reset(token)


def require_listening(uri: str, within_s: float = LISTENS_WITHIN_S) -> None:
    """As `probe`, if somebody waits for the server."""
    waiting = _waiting.get()
    if waiting is None or waiting.over:
        return
    probe(uri, within_s)
    waiting.over = True


def probe_pending() -> bool:
    """Whether somebody waits who has not heard of the tracker yet, and is to be told at once that it is away."""
    waiting = _waiting.get()
    return waiting is not None and not waiting.over


def probe(uri: str, within_s: float = LISTENS_WITHIN_S) -> None:
    """Connect to the server and hang up. Asks it nothing: a slow one is not called away.

    Args:
        within_s: for each of the addresses that its name has.

    Raises:
        ConnectionError: nobody listens there, in the system's own words.
    """
    import socket

    if (server := _server(uri)) is not None:
        try:
            socket.create_connection(server, within_s).close()
        except OSError as error:
            raise ConnectionError((error.strerror or str(error)).lower()) from error


def _server(uri: str) -> tuple[str, int] | None:
    """(host, port) of an http address; None when a proxy is between, or it is none: MLflow's client will say so."""
    import urllib.parse
    import urllib.request

    try:
        parts = urllib.parse.urlsplit(uri)
        if parts.hostname is None:
            return None
        parts.hostname.encode("idna")
        host, port = parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    proxies = urllib.request.getproxies()
    proxied = bool(proxies.get(parts.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host)
    return None if proxied else (host, port)
