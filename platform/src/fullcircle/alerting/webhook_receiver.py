"""A webhook receiver on loopback, which stands in for on-call's pager in the demo and in tests."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BYTES = 1_000_000


class WebhookReceiver:
    """Takes JSON posts while it is open, as a context manager. It listens on 127.0.0.1, at a free port.

    Attributes:
        pages: the posted objects in the order in which they came: `title`, `message` and `type` from Apprise.
    """

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = []
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._proxies: dict[str, str | None] = {}

    @property
    def url(self) -> str:
        """The Apprise route that leads here, while it is open."""
        assert self._server is not None, "open it first: 'with WebhookReceiver() as receiver'"
        return f"json://127.0.0.1:{self._server.server_address[1]}/pages"

    def __enter__(self) -> WebhookReceiver:
        # A company's proxy cannot reach our loopback.
        for name in ("NO_PROXY", "no_proxy"):
            before = self._proxies[name] = os.environ.get(name)
            os.environ[name] = ",".join(filter(None, (before, "127.0.0.1")))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.pages))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="webhook-receiver", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for name, before in self._proxies.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before


def _handler(pages: list[dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BYTES:
                self._answer(413)
                return
            try:
                posted = json.loads(self.rfile.read(int(length)))
            except ValueError:
                posted = None
            if not isinstance(posted, dict):
                self._answer(400)
                return
            pages.append(posted)
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the pages are what is to be read."""

    return Handler
