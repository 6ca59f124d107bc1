"""Releases on a real registry and the real store: whatever a kill leaves behind, one champion serves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.files import sha256_of
from fullcircle.core.ledger import Action, Head
from fullcircle.core.models import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.loop.champion.approval import nominate
from fullcircle.loop.champion.ledger import verify
from fullcircle.loop.champion.release import completed, recover, release, rollback
from fullcircle.store.database import Database
from fullcircle.store.ledger import Ledger
from fullcircle.store.releases import Releases
from fullcircle.tracking.anchor import Anchor
from fullcircle.tracking.registry import Registry

AT = datetime(2013, 4, 1, tzinfo=UTC)
Make = Callable[..., ModelVersion]


def serving(settings: Settings, project: Project) -> tuple[str | None, str | None]:
    registry = Registry(settings)
    champion, previous = (registry.alias(project.name, alias) for alias in (CHAMPION, PREVIOUS))
    return champion.version if champion else None, previous.version if previous else None


def released(settings: Settings, project: Project, version: ModelVersion, days: int = 0) -> Release:
    return release(project, settings, version, reason="test", decided_by="a test", at=AT + timedelta(days=days))


def break_graph(settings: Settings, version: ModelVersion) -> None:
    """Nothing of this version's graph can be had any more: neither the cached file nor the artifact."""
    shutil.rmtree(settings.home / "models" / version.name / version.version, ignore_errors=True)
    for path in (settings.home / "mlartifacts").rglob("*.onnx"):
        if sha256_of(path) == version.digest:
            path.write_bytes(b"not a graph")


def cut_short(settings: Settings, project: Project, make: Make, moved: int) -> ModelVersion:
    """What kill -9 leaves after the intent to release version 2 was written, and so many aliases were moved."""
    first, second = make(), make()
    released(settings, project, first)
    nominate(project, settings, second, reason="test", decided_by="a test", at=AT)
    Releases(Database(settings)).begin(
        Release(project=project.name, version=second.version, previous="1", at=AT, reason="r", decided_by="d")
    )
    for alias, version in [(PREVIOUS, "1"), (CHAMPION, "2")][:moved]:
        Registry(settings).set_alias(project.name, alias, version)
    if moved == 3:
        Registry(settings).drop_alias(project.name, CHALLENGER)
    return second


def written(settings: Settings, project: Project) -> list[tuple[Action, str]]:
    return [(entry.action, entry.version) for entry in Ledger(Database(settings)).entries(project.name)]


def holds(settings: Settings, project: Project) -> bool:
    (checked,) = verify(settings, [project.name])
    return checked.holds


def test_a_release_moves_both_aliases_and_is_written_down(settings: Settings, project: Project, make: Make) -> None:
    first, second = make(), make()
    released(settings, project, first)
    assert serving(settings, project) == ("1", None)
    released(settings, project, second, days=30)
    assert serving(settings, project) == ("2", "1")
    assert [(made.version, made.previous) for made in completed(project, settings)] == [("1", None), ("2", "1")]


def test_a_rollback_gives_the_traffic_back_and_can_be_taken_back(
    settings: Settings, project: Project, make: Make
) -> None:
    for days, version in enumerate((make(), make())):
        released(settings, project, version, days)
    rollback(project, settings, reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("1", "2")
    rollback(project, settings, reason="it was not the model", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")


def test_a_rollback_to_a_graph_that_does_not_load_changes_nothing(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second = make(), make()
    for days, version in enumerate((first, second)):
        released(settings, project, version, days)
    break_graph(settings, first)
    with pytest.raises(ModelUnavailable, match=r"version 1"):
        rollback(project, settings, reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")
    assert Releases(Database(settings)).pending(project.name) == []


def test_without_a_previous_champion_a_rollback_says_so(settings: Settings, project: Project, make: Make) -> None:
    released(settings, project, make())
    with pytest.raises(ModelUnavailable, match="has no previous champion to roll back to"):
        rollback(project, settings, reason="x", decided_by="y")


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_release_that_was_cut_short_is_finished_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make, moved: int
) -> None:
    cut_short(settings, project, make, moved)
    assert serving(settings, project)[0] == ("2" if moved > 1 else "1")
    (checked,) = verify(settings, [project.name])
    assert (checked.holds, checked.unfinished) == (True, "the promote of version 2 was cut short")
    assert recover(project, settings) == ("finished the release of version 2 that was cut short",)
    assert serving(settings, project) == ("2", "1")
    assert recover(project, settings) == ()
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.NOMINATE, "2"), (Action.PROMOTE, "2")]
    assert holds(settings, project)


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_release_that_was_cut_short_is_undone_when_its_graph_does_not_load(
    settings: Settings, project: Project, make: Make, moved: int
) -> None:
    second = cut_short(settings, project, make, moved)
    break_graph(settings, second)
    (said,) = recover(project, settings)
    assert said.startswith("undid the unfinished release of version 2")
    assert serving(settings, project) == ("1", None)
    assert [made.version for made in completed(project, settings)] == ["1"]
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.NOMINATE, "2")]
    assert holds(settings, project)


def test_a_kill_before_the_head_is_kept_is_mended_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make
) -> None:
    released(settings, project, make())
    before = Anchor(settings).head(project.name)
    assert before is not None
    released(settings, project, make(), days=30)
    Anchor(settings).keep(project.name, before)
    assert holds(settings, project)
    recover(project, settings)
    newest = Ledger(Database(settings)).entries(project.name)[-1]
    assert Anchor(settings).head(project.name) == Head(seq=2, hash=newest.hash)


def test_releases_from_before_there_was_a_ledger_are_written_into_it(
    settings: Settings, project: Project, make: Make
) -> None:
    releases, registry = Releases(Database(settings)), Registry(settings)
    first, _, third = make(), make(), make()
    for days, (version, previous) in enumerate([(first, None), (third, "1")]):
        intent = Release(
            project=project.name,
            version=version.version,
            previous=previous,
            at=AT + timedelta(days=days),
            reason="r",
            decided_by="d",
        )
        releases.complete(releases.begin(intent))
    for alias, number in (
        (CHAMPION, "3"),
        (PREVIOUS, "1"),
        (CHALLENGER, "2"),
    ):  # an earlier version kept its challenger
        registry.set_alias(project.name, alias, number)
    recover(project, settings)
    recover(project, settings)
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.PROMOTE, "3")]
    assert holds(settings, project)


# The program kills itself with SIGKILL when it comes to the step for the n-th time. A profiler sees every call and
# return of the real code and changes none of it.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.champion.release import release
from fullcircle.tracking.registry import Registry

home, name, number, event, step, times = sys.argv[1:]
settings = Settings.from_env({"FULLCIRCLE_HOME": home})
project = Project(name=name, owner="o", columns=(Number("x"),), target=Binary("y", positive="y"), time="hour",
                  row_id="id", torch=lambda inputs, params: None)
version, seen = Registry(settings).version(name, number), [0]

def watch(frame, kind, argument):
    if kind == event and frame.f_code.co_qualname == step:
        seen[0] += 1
        if seen[0] == int(times):
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(watch)
release(project, settings, version, reason="better", decided_by="gate", at=datetime(2013, 5, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize(
    ("event", "step", "times", "serves"),
    [
        ("return", "Releases.begin", 1, "1"),
        ("return", "Registry.set_alias", 1, "1"),
        ("return", "Registry.set_alias", 2, "2"),
        ("return", "Ledger.append", 1, "2"),
        ("call", "Handover._keep_head", 2, "2"),
    ],
    ids=["intent written", "previous moved", "champion moved", "entry not committed", "head not kept"],
)
def test_kill_9_in_a_release_leaves_one_champion_and_one_entry(
    settings: Settings, project: Project, make: Make, event: str, step: str, times: int, serves: str
) -> None:
    released(settings, project, make())
    make()
    words = [str(settings.home), project.name, "2", event, step, str(times)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert serving(settings, project)[0] == serves
    assert holds(settings, project)
    recover(project, settings)
    assert serving(settings, project) == ("2", "1")
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.PROMOTE, "2")]
    assert [made.version for made in completed(project, settings)] == ["1", "2"]
    assert holds(settings, project)


def test_two_processes_that_release_at_once_take_turns(settings: Settings, project: Project, make: Make) -> None:
    released(settings, project, make())
    make(), make()
    words = [[str(settings.home), project.name, number, "never", "", "1"] for number in ("2", "3")]
    started = [subprocess.Popen([sys.executable, "-c", KILLED, *each], stderr=subprocess.PIPE) for each in words]
    assert [(each.communicate()[1].decode(), each.returncode) for each in started] == [("", 0)] * 2
    ((_, first), (_, second)) = written(settings, project)[1:]
    assert {first, second} == {"2", "3"}
    assert serving(settings, project) == (second, first)
    assert holds(settings, project)
