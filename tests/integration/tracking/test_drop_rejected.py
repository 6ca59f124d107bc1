"""A run of which a real MLflow server, or the proxy in front of it, refuses something for good."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import pytest

from fullcircle.cli import main
from fullcircle.core.errors import TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.tracking.runs.run_store import RunStore, RunWriter
from fullcircle.tracking.spool.drop_rejected import drop_rejected
from fullcircle.tracking.spool.rejected import REJECTED_TAG
from fullcircle.tracking.spool.sync import backlog, sync

pytestmark = pytest.mark.slow

MOST_BYTES = 100_000


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    own, port = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "server")}), free_port()
    RunStore(own).prepare()
    where = {"database": own.tracking_uri, "artifacts": str(folder / "artifacts"), "port": port}
    words = json.dumps({**where, "log": str(folder / "mlflow.log"), "largest_file": -1})
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), "server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as fork_server:
        assert fork_server.stdin is not None
        fork_server.stdin.write(words + "\n")
        fork_server.stdin.flush()
        url, ends = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while not answers(url):
            assert time.monotonic() < ends, (folder / "mlflow.log").read_text()
            time.sleep(0.05)
        yield url
        fork_server.communicate()  # its stdin ends, and it with it


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


class Narrow(http.server.BaseHTTPRequestHandler):
    """A proxy as many stand in front of an MLflow server: it takes bodies of so many bytes, and no larger ones."""

    upstream: str
    down = False

    def do_GET(self) -> None:
        if self.down:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(body) > MOST_BYTES:
            self._answer(413, b"<html>413 Request Entity Too Large</html>", "text/html")
            return
        passed = {name: value for name, value in self.headers.items() if name in ("Content-Type", "Accept")}
        url = f"{self.upstream}{self.path}"
        answer = httpx.request(self.command, url, content=body, headers=passed, timeout=30)
        self._answer(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def settings(mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of a home whose tracker is behind the proxy."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (Narrow,), {"upstream": mlflow_url})
    ) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        for name, value in {
            "FULLCIRCLE_HOME": str(tmp_path / "home"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.server_address[1]}",
        }.items():
            monkeypatch.setenv(name, value)
        yield Settings.from_env()
        proxy.shutdown()


def told(settings: Settings, project: Project, name: str, file: Path) -> RunWriter:
    """A run that keeps this file, tells a loss before and behind it, and ends."""
    with RunStore(settings).start(project, name=name, kind="train") as run:
        run.metrics({"loss": 1.0}, 1)
        run.file(file, "weights")
        run.metrics({"loss": 0.5}, 2)
    return run


def fullcircle(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["fullcircle", *words])
    try:
        main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_an_artifact_that_a_proxy_finds_too_large_is_left_out_kept_and_named_and_the_rest_is_sent(
    settings: Settings,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    huge = tmp_path / "model.bin"
    huge.write_bytes(os.urandom(MOST_BYTES + 1))
    stuck = told(settings, project, "stuck", huge)
    huge.write_bytes(b"small")
    monkeypatch.setattr(Narrow, "down", True)
    assert told(settings, project, "another", huge).backlog is not None
    monkeypatch.setattr(Narrow, "down", False)
    (left,) = sync(settings)
    assert (left.run, "413" in left.why) == (stuck.id, True)
    client = mlflow.MlflowClient(settings.tracking_uri)
    assert client.get_run(stuck.id).info.status == "RUNNING"
    capsys.readouterr()
    assert fullcircle(monkeypatch, "sync", "--leave-out", "stuck", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["unsent"]
    (missing,) = row["left_out"]
    assert (row["run"], row["owed"], row["why"], row["points"]) == (stuck.id, False, "", 0)
    assert missing["what"] == f"artifact weights/model.bin ({MOST_BYTES + 1:,} bytes)"
    assert "413" in missing["why"]
    assert Path(missing["kept"][1]).stat().st_size == MOST_BYTES + 1
    found = client.get_run(stuck.id)
    assert (found.info.status, found.data.tags[REJECTED_TAG]) == ("FINISHED", missing["what"])
    assert [point.step for point in client.get_metric_history(stuck.id, "loss")] == [1, 2]
    assert fullcircle(monkeypatch, "sync") == 0
    assert "left out: artifact weights/model.bin" in " ".join(capsys.readouterr().out.split())
    assert [each.left_out[0].kept for each in backlog(settings)] == [tuple(missing["kept"])]
    assert sync(without_tracker(settings)) == backlog(settings), "for what was left out no tracker is asked"
    shutil.rmtree(row["folder"])
    assert (sync(settings), backlog(settings)) == ((), ())


def without_tracker(settings: Settings) -> Settings:
    """The same home, and no tracker."""
    return Settings.from_env({"FULLCIRCLE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})


def test_a_parameter_that_mlflow_calls_invalid_is_left_out_and_the_others_of_the_call_are_there(
    settings: Settings, project: Project
) -> None:
    client = mlflow.MlflowClient(settings.tracking_uri)
    with RunStore(settings).start(project, name="conflict", kind="train") as run:
        assert run.flush()
        client.log_param(run.id, "rate", "0.1")
        run.params({"epochs": 3, "rate": 0.2, "width": 8})
    assert run.backlog is not None
    (left,) = drop_rejected(settings, run.id[:12])
    assert [each.what for each in left.left_out] == ["parameters rate"]
    found = client.get_run(run.id)
    assert found.data.params == {"epochs": "3", "rate": "0.1", "width": "8"}
    assert (found.info.status, found.data.tags[REJECTED_TAG]) == ("FINISHED", "parameters rate")


def test_a_run_that_somebody_deleted_is_not_given_up_entry_by_entry(settings: Settings, project: Project) -> None:
    client = mlflow.MlflowClient(settings.tracking_uri)
    with RunStore(settings).start(project, name="deleted", kind="train") as run:
        assert run.flush()
        client.delete_run(run.id)
        run.metrics({"loss": 1.0}, 1)
    before = contents(settings)
    with pytest.raises(TrackingUnavailable, match=f"takes nothing of run {run.id} at all: MLflow refused") as refused:
        drop_rejected(settings, run.id)
    assert f"remove {settings.home / 'spool'}" in refused.value.hint
    assert contents(settings) == before


def contents(settings: Settings) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (settings.home / "spool").rglob("*") if path.is_file()}


def test_a_tracker_that_is_away_a_run_that_is_written_and_an_unknown_one_change_nothing(
    settings: Settings, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = without_tracker(settings)
    with RunStore(away).start(project, name="away", kind="train") as run:
        with pytest.raises(UsageError, match=f"run {run.id} is held by another process, which sends it"):
            drop_rejected(away, "away")
        run.metrics({"loss": 1.0}, 1)
    before = contents(settings)
    with pytest.raises(TrackerAway, match="nothing was left out, for a tracker that is away refuses nothing"):
        drop_rejected(away, "away")
    with pytest.raises(TrackingUnavailable, match=r"is of the tracker http://127\.0\.0\.1:9, not"):
        drop_rejected(settings, "away")
    assert fullcircle(monkeypatch, "sync", "--leave-out", "awax") == 2
    said = capsys.readouterr().err
    assert "nothing of a run 'awax' waits in the spool" in said
    assert "the nearest are away" in " ".join(said.split())
    assert contents(settings) == before
