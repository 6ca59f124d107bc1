"""The server as a process of its own, on a real MLflow registry: followed, killed, stopped, found again."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from fullcircle.core.errors import BadRequest, ModelUnavailable, ServiceUnavailable
from fullcircle.core.records.ledger_entries import Aliases
from fullcircle.core.records.releases import CHAMPION, Release
from fullcircle.core.system.processes import free_port
from fullcircle.predictions import log_reader
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving.client import Client
from fullcircle.serving.local_copy import LocalCopy
from fullcircle.serving.model_reloader import ModelReloader
from fullcircle.serving.server import _listening
from fullcircle.serving.server_process import service
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.tracking.registry.model_registry import Registry

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=90)


@pytest.fixture(scope="module")
def first(release):
    """Version 1, released before any server starts."""
    return release(1.0)


@pytest.fixture(scope="module")
def server(project, settings, first):
    with service(project, settings, port=free_port(), poll_s=0.1) as running:
        yield running


@pytest.fixture
def url(server) -> str:
    return server.ready_url.removesuffix("/v2/health/live")


@pytest.fixture
def client(url, project):
    with Client(url, project) as talking:
        yield talking


def log_folder(settings, project):
    return settings.folder("predictions", project.name)


def test_a_frame_is_answered_logged_and_labelled_over_http(client, project, settings, make_rows, answers):
    frame = make_rows(2500, "2013-04-01")
    told = client.predict(frame)
    assert list(told.columns) == ["row_id", "prediction_id", "model_version", "probability"]
    assert told["row_id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(told["probability"], answers(frame, 1.0), atol=1e-6)

    assert client.labels(frame["id"].tolist(), [1] * 2500) == 2500
    seen, logged = log_reader.window(project, log_folder(settings, project), START, END)
    assert (seen.rows, seen.labelled, seen.versions) == (2500, 2500, ("1",))
    merged = frame.merge(logged, left_on="id", right_on="row_id", suffixes=("", "_logged"))
    np.testing.assert_array_equal(merged["wind"].astype("float32"), merged["wind_logged"])
    assert (merged["carrier"] == merged["carrier_logged"]).all()
    assert (merged["time"] == merged["event_time"]).all()
    assert logged.set_index("row_id").loc[told["row_id"], "prediction_id"].tolist() == told["prediction_id"].tolist()


def test_a_connection_sends_each_packet_at_once():
    with _listening("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_row_without_its_column_is_refused_by_name(client, url, make_rows):
    with pytest.raises(BadRequest, match="column 'carrier' is missing from the frame") as refusal:
        client.predict(make_rows(1).drop(columns="carrier"))
    assert refusal.value.field == "carrier"
    with pytest.raises(BadRequest, match="column 'distance', row 0: must not be null"):
        client.predict(make_rows(1).assign(distance=np.nan))


def test_the_server_says_what_mlflows_own_model_says(url, settings, project, make_rows):
    import mlflow

    frame = make_rows(40)[["distance", "wind", "carrier"]]
    mlflow.set_tracking_uri(settings.tracking_uri)
    theirs = mlflow.pyfunc.load_model(f"models:/{project.name}@{CHAMPION}").predict(frame)
    columns = frame.astype(object).where(frame.notna(), None)
    split = {"columns": list(frame.columns), "data": columns.to_numpy().tolist()}
    ours = httpx.post(f"{url}/invocations", json={"dataframe_split": split}, trust_env=False).json()
    assert ours["predictions"] == theirs.to_dict(orient="records")


def test_a_release_and_a_rollback_are_followed_under_load_and_no_answer_is_lost(
    url, client, project, settings, first, release, make_rows, answers
):
    frame, told, stop = make_rows(20, "2013-05-01"), [], threading.Event()

    def ask() -> None:
        with Client(url, project) as talking:
            while not stop.is_set():
                told.append(talking.predict(frame))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        second = release(-1.0)
        client.wait_for(second.version, timeout_s=30)
        Registry(settings).set_alias(project.name, CHAMPION, first.version)
        client.wait_for(first.version, timeout_s=30)
    finally:
        stop.set()
        asking.join()
    weights = {first.version: 1.0, second.version: -1.0}
    for answer in told:
        (version,) = answer["model_version"].unique()
        np.testing.assert_allclose(answer["probability"], answers(frame, weights[version]), atol=1e-6)
    assert {version for answer in told for version in answer["model_version"]} == {first.version, second.version}


def test_waiting_for_a_version_that_never_comes_says_what_answers(client):
    with pytest.raises(ServiceUnavailable, match="version 99 of 'small' not there in 0 s; version 1 answers"):
        client.wait_for("99", timeout_s=0)


def test_a_full_disk_is_answered_503_and_serving_goes_on_when_there_is_room_again(
    client, server, project, settings, make_rows
):
    frame = make_rows(5, "2013-06-25")
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, before[1]))  # no file of that process may grow
    try:
        with pytest.raises(ServiceUnavailable, match=r"cannot answer \(503\): cannot write the prediction log"):
            client.predict(frame)
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
    assert log_reader.logged_row_ids(log_folder(settings, project), frame["time"].min(), END) == set()
    client.predict(frame)
    assert log_reader.logged_row_ids(log_folder(settings, project), frame["time"].min(), END) == set(frame["id"])


def test_a_taken_port_is_said_in_one_line(project, settings, server):
    port = server.ready_url.split(":")[2].split("/")[0]
    command = [sys.executable, "-m", "fullcircle.serving.server", str(project.folder), "--port", port]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "FULLCIRCLE_HOME": str(settings.home)}
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there_is_said_with_what_to_do(project, make_rows):
    with (
        Client(f"http://127.0.0.1:{free_port()}", project) as client,
        pytest.raises(ServiceUnavailable, match="is 'fullcircle serve small' running there"),
    ):
        client.predict(make_rows(1))


# The server, which kills itself with SIGKILL at the sixtieth write to its log: before it, or behind it and before the
# answer that it is for.
KILLED = """
import os, runpy, signal, sys, threading
point, writes = sys.argv.pop(1), 0

def watch(frame, event, called):
    global writes
    if event == point and called is os.pwrite:
        writes += 1
        if writes == 60:
            os.kill(os.getpid(), signal.SIGKILL)

threading.setprofile(watch)
sys.setprofile(watch)
runpy.run_module("fullcircle.serving.server", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("point", ["c_call", "c_return"], ids=["before the write", "behind the write"])
def test_every_answer_of_a_server_killed_with_kill_9_is_in_the_log(project, settings, first, point):
    running = service(project, settings, port=free_port())
    python, _, _, *arguments = running.command
    answered: list[str] = []
    with dataclasses.replace(running, command=[python, "-c", KILLED, point, *arguments]) as killed:
        url = killed.ready_url.removesuffix("/v2/health/live")
        with httpx.Client(base_url=url, trust_env=False) as http:
            for number in range(100_000):
                row = {"distance": [number], "wind": [None], "carrier": ["UA"], "time": ["2013-06-01T00:00:00Z"]}
                try:
                    answer = http.post("/invocations", json={"inputs": row})
                except httpx.TransportError:
                    break
                answered += answer.json()["prediction_ids"]
    folder = log_folder(settings, project)
    assert 10 < len(answered) < 60
    assert set(answered) <= log_reader.logged_row_ids(folder, START, END)  # no row id was sent: the prediction id is it
    with PredictionLog(folder, project.inputs, project.target.answers, background=False):
        assert set(answered) <= log_reader.logged_row_ids(folder, START, END)


def test_a_stopped_server_has_sealed_its_log(project, settings, first, make_rows):
    folder = log_folder(settings, project)
    before = set((folder / "wal").iterdir())
    with service(project, settings, port=free_port()) as running:
        with Client(running.ready_url.removesuffix("/v2/health/live"), project) as client:
            ids = set(client.predict(make_rows(30, "2013-06-20"))["prediction_id"])
        assert set((folder / "wal").iterdir()) - before, "it has a write-ahead file while it runs"
    assert set((folder / "wal").iterdir()) <= before
    _, frame = log_reader.window(project, folder, START, END)
    assert ids <= set(frame["prediction_id"])


def test_a_server_that_starts_while_the_registry_is_away_serves_what_lies_in_the_home(
    project, settings, server, make_rows
):
    token = "a-token-that-is-long-enough-for-it-to-be-one"
    away = dataclasses.replace(settings, tracking_uri=f"http://127.0.0.1:{free_port()}", token=token)
    with service(project, away, port=free_port()) as running:
        url = running.ready_url.removesuffix("/v2/health/live")
        ready = httpx.get(f"{url}/v2/health/ready", trust_env=False)
        with Client(url, project, token=token) as client:
            told = client.predict(make_rows(3, "2013-06-25"))
        with Client(url, project) as stranger:
            for ask in (stranger.version, lambda: stranger.labels(["a"], [1])):
                with pytest.raises(BadRequest, match="refused: this needs 'Authorization: Bearer <token>'"):
                    ask()
    assert ready.status_code == 200
    served = ready.json()["model_version"]
    assert ready.json()["problem"].startswith(
        f"serving version {served} from the local copy, registry unreachable since "
    )
    assert set(told["model_version"]) == {served}


def test_a_home_that_released_and_never_served_asks_its_ledger(project, settings, first, tmp_path):
    home = dataclasses.replace(
        settings,
        home=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'fullcircle.db'}",
        tracking_uri="http://127.0.0.1:9",
    )
    local = LocalCopy(home, project.name)
    with pytest.raises(ModelUnavailable, match="it never served or released one"):
        local.load()
    database = Database(home)
    said = {"reason": "first", "decided_by": "me", "action": "promote"}
    change = Release(project=project.name, version=first.version, previous=None, at=START, **said)
    with database.session():
        Ledger(database).append(change, aliases=Aliases(champion=first.version), model_digest=first.digest)
    kept = home.folder("models", project.name, first.version) / "graph.onnx"
    shutil.copyfile(Registry(settings).graph(first), kept)

    with ModelReloader(home, project) as reloader:
        assert reloader.current is not None
        assert reloader.current.version.version == first.version
        assert "from the local copy" in reloader.problem
    kept.write_bytes(b"another")
    with ModelReloader(home, project) as reloader:
        assert reloader.current is None
        assert "has the digest" in reloader.problem
