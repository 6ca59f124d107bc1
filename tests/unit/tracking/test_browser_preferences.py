"""MLflow's first page carries our preferences, whatever the browser held of it before; all else passes untouched."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fullcircle.tracking.server.browser_preferences import SCRIPT_PATH, BrowserPreferences, preferences, server_folder

PAGE = b"<!doctype html><html><head><title>MLflow</title></head><body>\xc3\xa4</body></html>"


async def _site(scope: Any, _receive: Any, send: Any) -> None:
    """Answers in two pieces, as a file does, and with 304 whoever asks on a condition."""
    conditional = any(name == b"if-none-match" for name, _ in scope["headers"])
    headers = [(b"content-type", b"text/html"), (b"etag", b"old"), (b"content-length", str(len(PAGE)).encode())]
    await send({"type": "http.response.start", "status": 304 if conditional else 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE[:30], "more_body": True})
    await send({"type": "http.response.body", "body": PAGE[30:]})


def ask(
    path: str, method: str = "GET", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[int, dict[Any, Any], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = BrowserPreferences(_site, {"view": "</script>training", "seen": True})
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(app(scope, None, send))  # type: ignore[arg-type]  # nothing is received
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


def test_the_first_page_loads_the_script_before_any_of_its_own_and_says_its_true_length() -> None:
    status, headers, body = ask("/")
    assert status == 200
    assert body.startswith(b'<!doctype html><html><head><script src="./fullcircle-preferences.js"></script><title>')
    assert body.endswith("ä</body></html>".encode())
    assert headers[b"content-length"] == str(len(body)).encode()
    assert b"etag" not in headers, "it is another page than the application's"


def test_a_browser_that_holds_the_page_from_before_gets_it_anew() -> None:
    assert ask("/", headers=((b"if-none-match", b"old"),))[0] == 200


def test_other_paths_and_methods_pass_untouched() -> None:
    for path, method in (("/ajax-api/2.0/mlflow/runs/search", "POST"), ("/", "POST"), ("/static-files/a.js", "GET")):
        assert ask(path, method)[2] == PAGE


def test_the_script_keeps_what_somebody_chose() -> None:
    status, headers, body = ask(SCRIPT_PATH)
    assert (status, headers[b"content-type"]) == (200, b"application/javascript; charset=utf-8")
    assert b"if (localStorage.getItem(name) === null)" in body


def test_what_is_kept_in_the_folder_of_mlflows_server_is_read() -> None:
    assert preferences()["mlflow.workflowType_v1"] == "machine_learning"
    assert sorted(path.name for path in server_folder().iterdir()) == [
        "README.md",
        "basic_auth.ini",
        "browser.json",
        "server.env",
    ]
    explained = (server_folder() / "README.md").read_text()
    for name in json.loads((server_folder() / "browser.json").read_text()):
        assert name.removesuffix("_v1") in explained, "each preference is explained"
