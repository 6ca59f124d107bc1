"""Following the champion: the new version takes over only when it can answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fullcircle.serving.model_reloader import ModelReloader

ROW = {
    "distance": np.array([[500]], "float32"),
    "wind": np.array([[np.nan]], "float32"),
    "carrier": np.array([["UA"]], object),
}


def test_without_a_champion_nothing_answers_and_the_problem_says_what_to_do(reloader):
    reloader.check()
    assert reloader.current is None
    assert reloader.problem == "no version of 'small' is the champion; 'fullcircle run small' trains and releases one"


def test_a_new_champion_takes_over_and_a_rollback_is_followed_too(reloader, registry):
    answers = []
    for version, weight in (("1", 1.0), ("2", -1.0), ("1", 1.0)):
        registry.release(version, weight)
        reloader.check()
        answers.append((reloader.current.version.version, float(reloader.current.graph.predict(ROW)[0])))
    assert [version for version, _ in answers] == ["1", "2", "1"]
    assert answers[0] == answers[2] != answers[1]
    assert reloader.problem == ""


def test_a_request_in_flight_keeps_the_version_that_it_began_with(reloader, registry):
    registry.release("1")
    reloader.check()
    begun = reloader.current
    before = begun.graph.predict(ROW)
    registry.release("2", -1.0)
    reloader.check()
    assert begun.version.version == "1"
    assert begun.graph.predict(ROW) == before


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda registry: registry.release("2", digest="0" * 64), "has the digest"),
        (
            lambda registry: registry.release("2", distance="miles"),
            "takes column 'miles' as float32, but the project has",
        ),
        (
            lambda registry: registry.release("2", float("nan")),
            "answer with probability for each row: they must be finite",
        ),
        (lambda registry: (registry.release("2"), (registry.folder / "2" / "graph.onnx").unlink()), "has no graph"),
        (lambda registry: (registry.folder / "champion").write_text("{"), "cannot follow the champion of 'small'"),
        (lambda registry: (registry.folder / "champion").unlink(), "no version of 'small' is the champion"),
    ],
    ids=["wrong digest", "other columns", "no probability", "graph gone", "registry broken", "alias dropped"],
)
def test_what_cannot_answer_does_not_take_over_and_the_old_version_stays(reloader, registry, spoil, problem, caplog):
    registry.release("1")
    reloader.check()
    spoil(registry)
    reloader.check()
    reloader.check()
    assert reloader.current.version.version == "1"
    assert problem in reloader.problem
    assert len(caplog.records) == 1, "said once, not at every look"
    registry.release("3")
    reloader.check()
    assert (reloader.current.version.version, reloader.problem) == ("3", "")


def test_its_thread_follows_without_being_asked(settings, project, registry):
    swapped = threading.Event()

    class Watching(ModelReloader):
        def check(self) -> None:
            super().check()
            if self.current and self.current.version.version == "2":
                swapped.set()

    registry.release("1")
    with Watching(settings, project, 0.01, registry=registry) as reloader:
        assert reloader.current.version.version == "1"
        registry.release("2")
        assert swapped.wait(20)
