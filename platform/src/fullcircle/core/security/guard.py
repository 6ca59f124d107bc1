"""ASGI middleware that applies access control before each of the three servers; no tool needed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from fullcircle.core.security.access import Access, is_outer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing: what a page of another site asks by them it cannot read. All others need our origin."""
_CODES = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_BY_BROWSER, _BY_PROGRAM = b'Basic realm="fullcircle: any name, the token as password", charset="UTF-8"', b"Bearer"

Refusal = tuple[int, str]


class Guard:
    """Passes on what `access` allows; the rest is refused before the guarded application sees anything of it.

    In this order: a Host that is none of ours is 400; a change, or a websocket, that a page of another origin asks for
    is 403; what comes from outside where there is no token is 403; what lacks the token is 401, but for `open_paths`.

    Args:
        open_paths: exact paths that GET and HEAD may ask for without the token: whether it is alive, nothing more.
    """

    def __init__(self, app: Application, access: Access, open_paths: Collection[str] = ()) -> None:
        self._app, self._access, self._open = app, access, frozenset(open_paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it (a websocket: by closing it before it opens)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(self._judged(scope), receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(send, *refusal)

    def _refusal(self, scope: Message) -> Refusal | None:
        access, host, origins = self._access, _headers(scope, b"host"), _headers(scope, b"origin")
        local = str((scope.get("server") or ("",))[0] or "")
        if len(host) != 1 or not access.answers_to(host[0], local):
            return 400, "this server does not answer to that Host; FULLCIRCLE_ALLOWED_HOSTS names further ones"
        changes = scope["type"] == "websocket" or scope["method"] not in READING
        if changes and origins and not (len(origins) == 1 and access.same_origin(origins[0], host[0])):
            return 403, "a page of another origin may not ask for this"
        if not access.token:
            if is_outer(local) and not access.insecure:
                return 403, "this server has no token, so it answers to its own machine alone; set FULLCIRCLE_TOKEN"
            return None
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in self._open:
            return None
        given = _headers(scope, b"authorization")
        if len(given) != 1 or not access.lets_in(given[0]):
            return 401, "this needs 'Authorization: Bearer <token>', the server's FULLCIRCLE_TOKEN"
        return None

    def _judged(self, scope: Message) -> Message:
        """The request as the guarded application sees it: an Origin that is our own says nothing any more.

        What the application has against other origins of its own is a list, which cannot know the names of a server
        that listens on all addresses.
        """
        host, origins = _headers(scope, b"host"), _headers(scope, b"origin")
        if len(origins) != 1 or not self._access.same_origin(origins[0], host[0]):
            return scope
        return {**scope, "headers": [(key, value) for key, value in scope["headers"] if key != b"origin"]}


async def _refuse(send: Send, status: int, why: str) -> None:
    # The words of all three servers: `error` of ours, `error_code` and `message` of MLflow's, `detail` of Prefect's.
    body = json.dumps({"error": why, "field": "", "error_code": _CODES[status], "message": why, "detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers += [(b"www-authenticate", _BY_PROGRAM), (b"www-authenticate", _BY_BROWSER)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
