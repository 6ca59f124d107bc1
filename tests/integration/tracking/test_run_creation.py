"""A run is made once, even when the tracker made it and its answer was lost."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import TrackerAway, TrackingUnavailable
from fullcircle.core.settings import Settings
from fullcircle.tracking.runs.run_tags import SPOOL
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.spool_dir import NewRun

KEY = "0123456789abcdef" * 2


class Tracker(http.server.ThreadingHTTPServer):
    """As much of MLflow as it takes to begin a run. It makes every run that it is asked for; the first `lost` answers
    do not arrive."""

    def __init__(self, lost: int) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.lost = lost
        self.runs: list[dict[str, Any]] = []

    def create(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        if asked["run_name"] == "nobody's":
            return {"version": "of something else"}
        info = {name: asked[name] for name in ("experiment_id", "start_time", "run_name")}
        self.runs.append({"info": {**info, "run_id": f"{len(self.runs):032x}"}, "data": {"tags": asked["tags"]}})
        return {"run": self.runs[-1]} if len(self.runs) > self.lost else None

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["filter"] == f"tags.`{SPOOL}` = '{KEY}'"
        return {"runs": self.runs[: asked["max_results"]]}


class Answers(http.server.BaseHTTPRequestHandler):
    server: Tracker

    def do_GET(self) -> None:
        experiment = {"experiment_id": "7", "name": "x", "artifact_location": "x:/", "lifecycle_stage": "active"}
        self._answer({"experiment": experiment})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = {"create": self.server.create, "search": self.server.search}
        room, _, what = self.path.removeprefix("/api/2.0/mlflow/").partition("/")
        self._answer(known[what](asked) if room == "runs" else {})

    def _answer(self, value: dict[str, Any] | None) -> None:
        if value is None:
            self.close_connection = True
            return
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(lost: int) -> Iterator[Tracker]:
    with Tracker(lost) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def backend(tracker: Tracker, home: Path) -> MlflowBackend:
    url = f"http://127.0.0.1:{tracker.server_address[1]}"
    return MlflowBackend(Settings.from_env({"FULLCIRCLE_HOME": str(home), "MLFLOW_TRACKING_URI": url}))


@pytest.mark.parametrize("lost", [0, 1], ids=["answered", "lost"])
def test_a_run_is_made_once_though_the_answer_to_its_making_may_be_lost(lost: int, tmp_path: Path) -> None:
    begin = NewRun(experiment="x", experiment_tags={}, name="n", tags={"mlflow.user": "u"}, started_ms=9)
    with serving(lost) as tracker:
        to = backend(tracker, tmp_path)
        if lost:
            with pytest.raises(TrackerAway, match="failed while starting run 'n' of x"):
                to.create_new_run(begin, KEY)
        else:
            assert to.create_new_run(begin, KEY) == ("0" * 32, "7")
        assert to.create_run(begin, KEY) == "0" * 32, "found again"
        (made,) = tracker.runs
        assert made["info"] == {"experiment_id": "7", "start_time": 9, "run_name": "n", "run_id": "0" * 32}
        assert made["data"]["tags"] == [{"key": "mlflow.user", "value": "u"}, {"key": SPOOL, "value": KEY}]


def test_a_server_that_makes_no_run_is_asked_whether_it_is_mlflow(tmp_path: Path) -> None:
    begin = NewRun(experiment="x", experiment_tags={}, name="nobody's", tags={}, started_ms=0)
    with serving(lost=0) as tracker, pytest.raises(TrackingUnavailable, match="answered without a run") as refused:
        backend(tracker, tmp_path).create_new_run(begin, KEY)
    assert refused.value.hint == "is MLFLOW_TRACKING_URI an MLflow server?"
