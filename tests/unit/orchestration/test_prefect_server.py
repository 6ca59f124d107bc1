"""Which Prefect a home talks to, and what it asks of it: decided without one that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.orchestration.concurrency_limits import limit_name
from fullcircle.orchestration.events import DRIFT, resource_id
from fullcircle.orchestration.flow_trigger import retrain_trigger
from fullcircle.orchestration.prefect_app import MARKER, hold
from fullcircle.orchestration.prefect_server import connect, prefect_environment, running
from fullcircle.orchestration.schedule import drift_automation
from fullcircle.store.retrain_requests import RetrainSource


def settings_of(tmp_path: Path, **said: str) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home"), **said})


@contextmanager
def answering() -> Iterator[str]:
    """The address of an API that is up."""

    class Up(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *said: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Up) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_a_second_server_of_a_home_gets_no_lock_until_the_first_one_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    program = (
        "import pathlib, sys; from fullcircle.orchestration.prefect_app import hold; "
        "lock = hold(pathlib.Path(sys.argv[1])); print('held' if lock else 'taken', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        assert hold(home) is None
        first.kill()
    lock = hold(home)
    assert lock is not None
    lock.close()


def test_a_home_whose_server_is_gone_has_none_whatever_its_marker_says(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    left = {"url": "http://127.0.0.1:1/api", "pid": 1, "owner": os.getpid()}
    (settings.folder("prefect") / MARKER).write_text(json.dumps(left))
    assert running(settings) is None


def test_a_server_that_holds_the_home_and_answers_is_the_one_that_is_used(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lock = hold(settings.folder("prefect"))
    assert lock is not None
    with lock, answering() as url:
        there = {"url": url, "pid": os.getpid(), "owner": os.getpid()}
        (settings.folder("prefect") / MARKER).write_text(json.dumps(there))
        assert running(settings) == url
        with connect(settings) as used:
            assert used == url
            assert os.environ["PREFECT_API_URL"] == url


def test_a_configured_api_that_does_not_answer_is_named_before_anything_runs(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    before = dict(os.environ)
    with (
        pytest.raises(ServiceUnavailable, match=f"the Prefect API {url} does not answer; start it, or unset"),
        connect(settings_of(tmp_path, PREFECT_API_URL=url)),
    ):
        pytest.fail("it was used")
    assert dict(os.environ) == before


def test_nothing_is_sent_out_nothing_is_unpickled_and_all_lies_in_the_home(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    said = prefect_environment(settings)
    assert said["PREFECT_HOME"] == str(settings.home / "prefect")
    assert said["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert said["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert "PREFECT_API_URL" not in said
    assert "PREFECT_CLIENT_CUSTOM_HEADERS" not in said


def test_the_homes_token_goes_along_unless_the_user_said_what_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, FULLCIRCLE_TOKEN="a-token-of-more-than-thirty-two-characters")
    sent = json.loads(prefect_environment(settings)["PREFECT_CLIENT_CUSTOM_HEADERS"])
    assert sent == {"Authorization": f"Bearer {settings.token}"}
    monkeypatch.setenv("PREFECT_API_KEY", "the user's own")
    assert "PREFECT_CLIENT_CUSTOM_HEADERS" not in prefect_environment(settings)


def test_a_drift_event_of_a_project_runs_its_own_retrain_with_the_events_reason_and_key() -> None:
    deployment = uuid.uuid4()
    made = drift_automation("bikes", deployment)
    trigger, [action] = made.trigger.model_dump(), [each.model_dump() for each in made.actions]
    assert trigger["expect"] == {DRIFT}
    assert trigger["match"] == {"prefect.resource.id": resource_id("bikes")}
    assert resource_id("bikes") != resource_id("bike")
    assert action["deployment_id"] == deployment
    assert action["parameters"]["project"] == "bikes"
    assert action["parameters"]["key"]["template"] == "{{ event.payload.key }}"
    assert limit_name("bikes") != limit_name("bike")


def test_outside_of_a_deployment_an_event_is_known_by_its_key_and_anything_else_is_a_hand() -> None:
    event = retrain_trigger("window:2024-05")
    assert (event.source, event.key) == (RetrainSource.EVENT, "window:2024-05")
    first, second = retrain_trigger(None), retrain_trigger(None)
    assert first.source is second.source is RetrainSource.HAND
    assert first.key != second.key
