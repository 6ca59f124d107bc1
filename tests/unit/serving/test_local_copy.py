"""A registry that is away when the server starts: the version that was served last answers, and it says so."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from fullcircle.core.errors import TrackerAway
from fullcircle.predictions.labels import LabelLog
from fullcircle.serving.app import create_app
from fullcircle.serving.local_copy import RECORD, LocalCopy
from fullcircle.serving.model_reloader import ModelReloader

ROW = {
    "distance": np.array([[500]], "float32"),
    "wind": np.array([[np.nan]], "float32"),
    "carrier": np.array([["UA"]], object),
}


@pytest.fixture
def registry(settings, registry):
    """As everywhere here, and its versions lie where a home keeps its copies; while there is a file `away` it is."""
    registry.folder = settings.folder("models", "small")

    class Sometimes(type(registry)):
        def alias(self, name, alias):
            if (self.folder / "away").exists():
                raise TrackerAway("MLflow at http://mlflow:5000 does not answer (connection refused)")
            return super().alias(name, alias)

    return Sometimes(registry.folder)


@pytest.fixture
def start(settings, project, registry):
    """`start()`: a server's follower as it is after a restart, having looked once."""

    def begun() -> ModelReloader:
        reloader = ModelReloader(settings, project, registry=registry, local=LocalCopy(settings, "small"))
        reloader.check()
        return reloader

    return begun


def version_of(reloader: ModelReloader) -> str | None:
    return reloader.current.version.version if reloader.current else None


def test_the_version_that_was_served_last_answers_and_ready_says_so(start, registry, project, log, tmp_path, caplog):
    registry.release("1")
    before = start().current
    (registry.folder / "away").touch()

    reloader = start()
    reloader.check()

    assert reloader.current.version == before.version
    assert reloader.current.graph.predict(ROW) == before.graph.predict(ROW)
    with TestClient(
        create_app(project, reloader, log, LabelLog(tmp_path / "l", project.target)), "http://localhost"
    ) as http:
        ready = http.get("/v2/health/ready")
    assert (ready.status_code, ready.json()["model_version"]) == (200, "1")
    assert ready.json()["problem"].startswith("serving version 1 from the local copy, registry unreachable since 2")
    assert "connection refused" in ready.json()["problem"]
    assert len([each for each in caplog.records if "local copy" in each.message]) == 1, "said once, not at every look"


def test_the_alias_is_followed_again_when_the_registry_is_back(start, registry):
    registry.release("1")
    start()
    (registry.folder / "away").touch()
    reloader = start()
    (registry.folder / "away").unlink()
    reloader.check()
    assert (version_of(reloader), reloader.problem) == ("1", "")
    (registry.folder / "away").touch()
    reloader.check()
    assert "local copy" not in reloader.problem, "it has seen the registry since"
    (registry.folder / "away").unlink()
    registry.release("2", -1.0)
    reloader.check()
    assert (version_of(reloader), reloader.problem) == ("2", "")


@pytest.mark.parametrize("last", ["1", "2"])
def test_of_two_copies_the_one_counts_that_was_served_last(start, registry, last):
    for version in ("1", "2", last):
        registry.release(version, float(version))
        start()
    (registry.folder / "away").touch()
    assert version_of(start()) == last


def test_a_version_that_could_not_answer_is_not_the_one_that_was_served_last(start, registry):
    registry.release("1")
    start()
    registry.release("2", digest="0" * 64)
    reloader = start()
    assert version_of(reloader) == "1"
    assert "serving version 1 from the local copy, " in reloader.problem
    assert "has the digest" in reloader.problem
    assert "unreachable" not in reloader.problem


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "1" / "graph.onnx").write_bytes(b"x" * 200), "has the digest"),
        (lambda folder: (folder / "1" / "graph.onnx").unlink(), "the local copy of version 1 of 'small' is gone"),
        (lambda folder: (folder / RECORD).write_text("{"), "cannot be read"),
        (lambda folder: (folder / RECORD).write_text("[]"), "does not say which version"),
        (lambda folder: (folder / RECORD).unlink(), "has no local copy of 'small': it never served or released one"),
        (
            lambda folder: (folder / RECORD).write_text(
                json.dumps({**json.loads((folder / RECORD).read_text()), "version": "../../1"})
            ),
            "does not say which version",
        ),
    ],
    ids=["another digest", "gone", "half a record", "no record", "no copy", "outside"],
)
def test_a_copy_that_is_not_what_it_was_is_refused_with_the_reason(start, registry, project, log, tmp_path, spoil, why):
    registry.release("1")
    start()
    (registry.folder / "away").touch()
    spoil(registry.folder)

    reloader = start()

    assert reloader.current is None
    assert "registry unreachable since" in reloader.problem
    assert why in reloader.problem
    with TestClient(
        create_app(project, reloader, log, LabelLog(tmp_path / "l", project.target)), "http://localhost"
    ) as http:
        answer = http.get("/v2/health/ready")
    assert (answer.status_code, why in answer.json()["error"]) == (503, True)


def test_a_registry_that_says_there_is_no_champion_is_believed(start, registry):
    registry.release("1")
    start()
    (registry.folder / "champion").unlink()
    reloader = start()
    assert (reloader.current, "is the champion" in reloader.problem) == (None, True)


def test_a_registry_that_is_silent_holds_up_no_start(settings, project, registry, start):
    registry.release("1")
    start()
    asked, answer = threading.Event(), threading.Event()

    class Silent(type(registry)):
        def alias(self, name, alias):
            asked.set()
            answer.wait()
            return super().alias(name, alias)

    silent = Silent(registry.folder)
    local = LocalCopy(settings, "small")
    try:
        with ModelReloader(settings, project, registry=silent, local=local, patience_s=0.05) as reloader:
            assert asked.wait(20)
            assert version_of(reloader) == "1"
            assert "serving version 1 from the local copy, registry unreachable since" in reloader.problem
            answer.set()
    finally:
        answer.set()
