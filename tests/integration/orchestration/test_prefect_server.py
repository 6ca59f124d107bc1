"""The local Prefect server: one a home, found again, guarded, and gone with whoever started it."""

from __future__ import annotations

import dataclasses
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import answers
from fullcircle.orchestration.prefect_server import connect, prefect_server, running

OWNER = """
import os, sys, time
from fullcircle.core.settings import Settings
from fullcircle.orchestration.prefect_server import prefect_server, server_url

with prefect_server(Settings.from_env()) as service:
    print(server_url(service), service.pid, flush=True)
    time.sleep(600)
"""


def status(url: str, path: str, headers: dict[str, str]) -> int:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_second_command_uses_the_server_that_runs(settings: Settings, api: str) -> None:
    with connect(settings) as url:
        assert url == api
        assert os.environ["PREFECT_API_URL"] == api
    assert answers(f"{api}/health"), "it was not ours to end"


def test_a_second_server_of_the_same_home_is_refused_in_one_line(settings: Settings, api: str) -> None:
    with (
        pytest.raises(ServiceUnavailable, match=r"another Prefect server of .* runs already"),
        prefect_server(settings),
    ):
        pass
    assert running(settings) == api


def test_a_configured_server_that_does_not_answer_is_named(settings: Settings) -> None:
    away = dataclasses.replace(settings, prefect_url="http://127.0.0.1:9/api")
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9/api does not answer"), connect(away):
        pass


def test_a_configured_server_is_used_as_it_is(settings: Settings, api: str) -> None:
    with connect(dataclasses.replace(settings, prefect_url=f"{api}/")) as url:
        assert url == api


@pytest.mark.usefixtures("settings")
def test_a_page_of_another_site_reaches_nothing(api: str) -> None:
    own = urlsplit(api).netloc
    assert status(api, "/api/health", {"Host": own}) == 200
    assert status(api, "/api/health", {"Host": "localhost"}) == 200
    assert status(api, "/api/health", {"Host": "evil.example"}) == 400
    assert status(api, "/api/health", {"Host": f"127.0.0.1.evil.example:{urlsplit(api).port}"}) == 400


@pytest.mark.usefixtures("settings")
def test_a_write_without_a_csrf_token_is_refused(api: str) -> None:
    address = urlsplit(api)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("POST", "/api/flows/", body=b'{"name":"x"}', headers={"Content-Type": "text/plain"})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_killed_owner_takes_its_server_along(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environment = {**os.environ, "FULLCIRCLE_HOME": str(tmp_path / "home")}
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        assert answers(f"{url}/health")
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    # `running` waits until the orphan is gone, and never leans on it.
    assert running(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})) is None
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
