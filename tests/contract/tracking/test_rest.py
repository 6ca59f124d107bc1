"""Requests that we make ourselves carry what those of MLflow's own client carry, and their refusals say the same."""

from __future__ import annotations

import dataclasses
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import RestException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import translated
from fullcircle.tracking.connection.rest import MlflowError, Rest

ASKED = "/api/2.0/mlflow/runs/get"
HEADERS = ("Authorization", "X-MLFLOW-WORKSPACE", "Host")


class Server(http.server.ThreadingHTTPServer):
    """Keeps the paths and headers of what it is asked, and answers with `status` and `body`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.status, self.body = 200, b"{}"
        self.asked: list[dict[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append({name: self.headers[name] for name in HEADERS} | {"path": self.path})
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture(autouse=True)
def _nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def rest(url: str, home: Path) -> Rest:
    return Rest(dataclasses.replace(Settings.from_env({"FULLCIRCLE_HOME": str(home)}), tracking_uri=url))


def both_ask(server: Server, home: Path, url: str = "") -> dict[str, str | None]:
    """What the server saw of MLflow's request; ours was the same."""
    rest(url or server.url, home).get(ASKED, {"run_id": "r"})
    http_request(get_default_host_creds(url or server.url), ASKED, "GET", params={"run_id": "r"})
    ours, theirs = server.asked
    assert ours == theirs
    return ours


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"USERNAME": "ada", "PASSWORD": "s3cret:ö"}, "Basic YWRhOnMzY3JldDrDtg=="),
        ({"USERNAME": "ada"}, None),
        ({"TOKEN": "t0ken"}, "Bearer t0ken"),
        ({"USERNAME": "ada", "PASSWORD": "x", "TOKEN": "t0ken"}, "Basic YWRhOng="),
    ],
)
def test_credentials_of_the_environment_are_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    assert both_ask(server, tmp_path)["Authorization"] == wanted


def test_credentials_of_mlflows_file_are_shown_unless_the_environment_has_others(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text("[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = x\n", encoding="utf-8")
    assert both_ask(server, tmp_path)["Authorization"] == "Basic ZmlsZWQ6eA=="
    server.asked.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert both_ask(server, tmp_path)["Authorization"] == "Basic YWRhOng="


def test_a_netrc_a_workspace_and_a_proxy_are_used_as_mlflow_uses_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine tracker.invalid login ada password x\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("MLFLOW_WORKSPACE", "blue")
    monkeypatch.setenv("http_proxy", server.url)
    seen = both_ask(server, tmp_path, "http://tracker.invalid/under/")
    assert seen == {
        "Authorization": "Basic YWRhOng=",
        "X-MLFLOW-WORKSPACE": "blue",
        "Host": "tracker.invalid",
        "path": f"http://tracker.invalid/under{ASKED}?run_id=r",
    }


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no such step"}', UsageError),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run r"}', TrackingUnavailable),
        (401, b"who are you?", UsageError),
        (413, b"<html>too much</html>", TrackingUnavailable),
        (429, b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "later"}', TrackerAway),
        (503, b"<html>later</html>", TrackerAway),
        (200, b"", TrackerAway),
        (200, b"<html>a login page</html>", TrackingUnavailable),
    ],
)
def test_a_refusal_is_the_callers_fault_for_now_or_for_good(
    server: Server, tmp_path: Path, status: int, body: bytes, kind: type[FullcircleError]
) -> None:
    server.status, server.body = status, body
    settings = dataclasses.replace(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)}), tracking_uri=server.url)
    with pytest.raises(FullcircleError) as refused, translated(settings, "reading run r"):
        Rest(settings).get(ASKED, {"run_id": "r"})
    assert type(refused.value) is kind
    assert len(server.asked) == 1  # made once
    assert "\n" not in refused.value.what


def test_a_refusal_has_mlflows_own_words(server: Server, tmp_path: Path) -> None:
    server.status, server.body = 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run r"}'
    with pytest.raises(MlflowError) as ours:
        rest(server.url, tmp_path).get(ASKED, {"run_id": "r"})
    with pytest.raises(RestException) as theirs:
        verify_rest_response(http_request(get_default_host_creds(server.url), ASKED, "GET"), ASKED)
    assert (str(ours.value), ours.value.error_code) == (str(theirs.value), theirs.value.error_code)
    assert ours.value.get_http_status_code() == theirs.value.get_http_status_code()


def test_a_server_that_is_not_there_is_away(tmp_path: Path) -> None:
    with Server() as gone:  # its port is closed from here on
        url = gone.url
    settings = dataclasses.replace(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)}), tracking_uri=url)
    with pytest.raises(TrackerAway, match="connection refused"), translated(settings, "reading run r"):
        Rest(settings).get(ASKED, {"run_id": "r"})


def test_signing_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_AWS_SIGV4 needs a package that is missing"):
        rest("http://127.0.0.1:9", tmp_path)
