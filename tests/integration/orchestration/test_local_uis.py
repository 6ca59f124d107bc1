"""The two UIs, started and ended as a user does it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import answers, free_port
from fullcircle.orchestration import prefect_app
from fullcircle.orchestration.local_uis import mlflow_ui, ui
from fullcircle.orchestration.prefect_server import prefect_server
from fullcircle.tracking.server import mlflow_app as guarded_mlflow

UI = (
    "import fullcircle.core.settings as s; from fullcircle.orchestration.local_uis import ui; ui(s.Settings.from_env())"
)


TOKEN = "a-token-that-is-long-enough-for-it-to-be-one"
# Each in a process of its own, as our commands are: what they say to a server is decided once, at their start.
CLIENTS = """
from fullcircle.core.settings import Settings
from fullcircle.orchestration.prefect_server import connect as prefect
from fullcircle.tracking.connection.client import connect
from fullcircle.tracking.connection.rest import Rest

settings = Settings.from_env()
connect(settings).create_experiment("asked by our client")
print(Rest(settings).post("/api/2.0/mlflow/experiments/search", {"max_results": 9})["experiments"][0]["name"])
with prefect(settings):
    from prefect import flow
    from prefect.events import emit_event

    @flow
    def greet() -> str:
        emit_event("fullcircle.test", resource={"prefect.resource.id": "test"})
        return "a flow ran"

    print(greet())
"""


def retrain_trigger(url: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_both_uis_ask_for_the_token_which_our_clients_send_and_end_with_ctrl_c(tmp_path: Path) -> None:
    # Without the API of the tests' own server, which `connect` put into this environment.
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"} | {
        "FULLCIRCLE_HOST": "0.0.0.0",
        "FULLCIRCLE_TOKEN": TOKEN,
        "FULLCIRCLE_ALLOWED_HOSTS": "models.example",
        "FULLCIRCLE_MLFLOW_PORT": str(free_port()),
        "FULLCIRCLE_PREFECT_PORT": str(free_port()),
    }
    home = tmp_path / "home"
    environment["FULLCIRCLE_HOME"] = str(home)
    command = subprocess.Popen([sys.executable, "-c", UI], stdout=subprocess.PIPE, text=True, env=environment, umask=0)
    try:
        assert command.stdout is not None
        lines = [command.stdout.readline() for _ in range(3)]
        found = [re.search(r"http://\S+", line) for line in lines[:2]]
        urls = [each.group() for each in found if each]
        assert len(urls) == 2, lines
        mlflow, prefect = urls
        assert [retrain_trigger(url) for url in urls] == [401, 401]
        assert [retrain_trigger(url, Authorization=f"Bearer {TOKEN}") for url in urls] == [200, 200]
        assert answers(f"{mlflow}/health")
        assert answers(f"{prefect}/api/health")
        assert [retrain_trigger(url, Authorization=f"Bearer {TOKEN}", Host="evil.example") for url in urls] == [
            400,
            400,
        ]
        assert [retrain_trigger(url, Authorization=f"Bearer {TOKEN}", Host="models.example") for url in urls] == [
            200,
            200,
        ]
        foreign = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example"}
        assert retrain_trigger(f"{mlflow}/api/2.0/mlflow/experiments/create", "POST", **foreign) == 403
        assert retrain_trigger(f"{prefect}/api/flows/", "POST", **foreign) == 403
        client = subprocess.run(
            [sys.executable, "-c", CLIENTS],
            env={**environment, "MLFLOW_TRACKING_URI": mlflow, "PREFECT_API_URL": f"{prefect}/api"},
            capture_output=True,
            text=True,
        )
        assert client.stdout.splitlines()[-2:] == ["asked by our client", "a flow ran"], client.stderr[-3000:]
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert TOKEN not in shown
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=40) == 0
    assert not any(answers(f"{url}/health") for url in urls)
    logs = [path for path in (home / "logs").rglob("*") if path.is_file()]
    assert [path.name for path in logs if TOKEN in path.read_text(errors="replace")] == []
    assert len(logs) == 2
    assert [str(each) for each in (home, *home.rglob("*")) if each.lstat().st_mode & 0o077] == []


def test_an_outer_address_without_a_token_is_refused_before_anything_starts(settings: Settings) -> None:
    import dataclasses

    outer = dataclasses.replace(settings, host="0.0.0.0")
    with pytest.raises(
        UsageError, match=r"the UIs would answer everybody who reaches '0\.0\.0\.0', and there is no tok"
    ):
        ui(outer, say=lambda _: None, stop=threading.Event())
    with pytest.raises(UsageError, match="the Prefect server would answer everybody"):
        prefect_server(outer)
    with pytest.raises(UsageError, match="the MLflow server would answer everybody"):
        mlflow_ui(outer, 5000)


@pytest.mark.nightly  # it imports both servers into this process
def test_every_route_of_both_asks_for_the_token_but_the_open_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLCIRCLE_TOKEN", TOKEN)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", "127.0.0.1")
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app as mlflow_app
    from prefect.server.api.server import create_app

    of_mlflow = {str(rule) for rule in flask_app.url_map.iter_rules()} | set(paths(mlflow_app.routes))
    of_prefect = set(paths(create_app(final=True).routes))
    assert len(of_mlflow) > 100
    assert len(of_prefect) > 100
    for app, routes, opened in (
        (guarded_mlflow.create(), of_mlflow, guarded_mlflow.OPEN_PATHS),
        (prefect_app.create(), of_prefect, prefect_app.OPEN_PATHS),
    ):
        for kind, method in (("http", "GET"), ("http", "POST"), ("websocket", "")):
            passed = {path for path in routes - set(opened) if not refused(app, kind, method, path)}
            assert passed == set(), (kind, method)


def paths(routes: Any, prefix: str = "") -> list[str]:
    """The paths of all routes, of mounted applications and of included routers too."""
    found = []
    for route in routes:
        path = prefix + (getattr(route, "path", None) or "")
        inner = getattr(route, "app", None) or getattr(route, "original_router", None)
        found += [path or "/", *paths(getattr(inner, "routes", None) or (), path)]
    return found


def refused(app: Any, kind: str, method: str, path: str) -> bool:
    """Whether an anonymous request is refused before the application sees it."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": kind, "method": method, "path": path, "server": ("127.0.0.1", 80), "headers": headers}
    asyncio.run(app(scope, receive, send))
    return sent[0].get("status") == 401 or sent[0]["type"] == "websocket.close"


def test_a_port_that_is_taken_names_the_variable_to_set(settings: Settings) -> None:
    import dataclasses

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = dataclasses.replace(settings, mlflow_port=taken.getsockname()[1])
        with pytest.raises(ServiceUnavailable, match="FULLCIRCLE_MLFLOW_PORT"):
            ui(busy, say=lambda _: None, stop=threading.Event())


def test_a_tracking_server_has_a_ui_of_its_own_already(settings: Settings) -> None:
    import dataclasses

    with pytest.raises(UsageError, match="MLflow runs at http://mlflow:5000 already"):
        mlflow_ui(dataclasses.replace(settings, tracking_uri="http://me:hidden@mlflow:5000"), 5000)
