"""Default UI preferences of MLflow: the first page sets those that a browser does not have yet.

MLflow 3.17 keeps its view, its panel and its banner as preferences of each browser, in `localStorage`; its server has
no setting for them. `mlflow/browser.json` names ours, and `mlflow/README.md` says what each does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fullcircle.core.errors import UsageError
from fullcircle.core.security.guard import Application, Message, Receive, Send

SCRIPT_PATH = "/fullcircle-preferences.js"
_TAG = f'<script src=".{SCRIPT_PATH}"></script>'.encode()
_SCRIPT = """(() => {
  const preferences = %s;
  for (const [name, value] of Object.entries(preferences))
    if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value));
})();
"""


def server_folder() -> Path:
    """The folder with the configuration of MLflow's server: `fullcircle/_mlflow` of the wheel, else `mlflow/` of the
    checkout. Raises UsageError when neither is there: the package was installed without it."""
    package = Path(__file__).resolve().parents[2]
    # parents[2] of the package is the checkout: <checkout>/platform/src/fullcircle
    for folder in (package / "_mlflow", package.parents[2] / "mlflow"):
        if (folder / "server.env").is_file():
            return folder
    raise UsageError(f"no configuration of MLflow's server beside {package}", hint="install the wheel, or a checkout")


def preferences() -> dict[str, Any]:
    """Name in `localStorage` -> value, of `mlflow/browser.json`."""
    found = json.loads((server_folder() / "browser.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


class BrowserPreferences:
    """MLflow's application, whose first page loads a script of ours before any of its own.

    A preference that the browser has stays: what somebody chose is theirs. All other requests pass untouched.
    """

    def __init__(self, app: Application, chosen: Mapping[str, Any]) -> None:
        self._app = app
        self._script = (_SCRIPT % json.dumps(dict(chosen), indent=4)).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer the script, add it to the first page, and pass on the rest."""
        reading = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if reading and scope["path"] == SCRIPT_PATH:
            await _answer(send, self._script if scope["method"] == "GET" else b"")
        elif reading and scope["path"] == "/" and scope["method"] == "GET":
            await self._app(_unconditional(scope), receive, _WithScript(send))
        else:
            await self._app(scope, receive, send)


class _WithScript:
    """Sends a page on with our script at the top of its head, once the whole of it is there."""

    def __init__(self, send: Send) -> None:
        self._send, self._start, self._body = send, dict[str, Any](), b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = dict(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body.replace(b"<head>", b"<head>" + _TAG, 1)
        # The page is another one than that whose length and tag the application knows.
        theirs = [each for each in self._start["headers"] if each[0].lower() not in (b"content-length", b"etag")]
        headers = [*theirs, (b"content-length", str(len(body)).encode())]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _unconditional(scope: Message) -> Message:
    """The request without its conditions: a browser may hold the page from before our script was in it."""
    conditions = (b"if-none-match", b"if-modified-since", b"accept-encoding", b"range")
    return {**scope, "headers": [each for each in scope["headers"] if each[0].lower() not in conditions]}


async def _answer(send: Send, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/javascript; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
