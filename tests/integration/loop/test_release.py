"""Releases on a real registry and the real store: whatever a kill leaves behind, one champion serves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fullcircle.core.errors import ChampionChanged, LeaseLost, ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Action, Head, Judged
from fullcircle.core.records.releases import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.loop.promotion.alias_transition import alias_transition
from fullcircle.loop.promotion.approval import nominate
from fullcircle.loop.promotion.ledger_audit import verify
from fullcircle.loop.promotion.release import completed, recover, release, rollback
from fullcircle.loop.retraining.retrain_lease import resource
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.leases import Holder, Lease, Leases
from fullcircle.store.releases import Releases
from fullcircle.tracking.registry.ledger_head import LedgerHeadStore
from fullcircle.tracking.registry.model_registry import Registry

AT = datetime(2013, 4, 1, tzinfo=UTC)
Make = Callable[..., ModelVersion]


def serving(settings: Settings, project: Project) -> tuple[str | None, str | None]:
    registry = Registry(settings)
    champion, previous = (registry.alias(project.name, alias) for alias in (CHAMPION, PREVIOUS))
    return champion.version if champion else None, previous.version if previous else None


def released(settings: Settings, project: Project, version: ModelVersion, days: int = 0) -> Release:
    return release(
        project, Workspace(settings), version, reason="test", decided_by="a test", data_until=AT + timedelta(days=days)
    )


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
    nominate(project, Workspace(settings), second, reason="test", decided_by="a test", data_until=AT)
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
    (checked,) = verify(Workspace(settings), [project.name])
    return checked.holds


def test_a_release_moves_both_aliases_and_is_written_down(settings: Settings, project: Project, make: Make) -> None:
    first, second = make(), make()
    released(settings, project, first)
    assert serving(settings, project) == ("1", None)
    released(settings, project, second, days=30)
    assert serving(settings, project) == ("2", "1")
    assert [(made.version, made.previous) for made in completed(project, Workspace(settings))] == [
        ("1", None),
        ("2", "1"),
    ]


def test_a_rollback_gives_the_traffic_back_and_can_be_taken_back(
    settings: Settings, project: Project, make: Make
) -> None:
    for days, version in enumerate((make(), make())):
        released(settings, project, version, days)
    rollback(project, Workspace(settings), reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("1", "2")
    rollback(project, Workspace(settings), reason="it was not the model", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")


def test_a_rollback_to_a_graph_that_does_not_load_changes_nothing(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second = make(), make()
    for days, version in enumerate((first, second)):
        released(settings, project, version, days)
    break_graph(settings, first)
    with pytest.raises(ModelUnavailable, match=r"version 1"):
        rollback(project, Workspace(settings), reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")
    assert Releases(Database(settings)).pending(project.name) == []


def test_without_a_previous_champion_a_rollback_says_so(settings: Settings, project: Project, make: Make) -> None:
    released(settings, project, make())
    with pytest.raises(ModelUnavailable, match="has no previous champion to roll back to"):
        rollback(project, Workspace(settings), reason="x", decided_by="y")


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_release_that_was_cut_short_is_finished_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make, moved: int
) -> None:
    cut_short(settings, project, make, moved)
    assert serving(settings, project)[0] == ("2" if moved > 1 else "1")
    (checked,) = verify(Workspace(settings), [project.name])
    assert (checked.holds, checked.unfinished) == (True, "the promote of version 2 was cut short")
    assert recover(project, Workspace(settings)) == ("finished the release of version 2 that was cut short",)
    assert serving(settings, project) == ("2", "1")
    assert recover(project, Workspace(settings)) == ()
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.NOMINATE, "2"), (Action.PROMOTE, "2")]
    assert holds(settings, project)


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_release_that_was_cut_short_is_undone_when_its_graph_does_not_load(
    settings: Settings, project: Project, make: Make, moved: int
) -> None:
    second = cut_short(settings, project, make, moved)
    break_graph(settings, second)
    (said,) = recover(project, Workspace(settings))
    assert said.startswith("undid the unfinished release of version 2")
    assert serving(settings, project) == ("1", None)
    assert [made.version for made in completed(project, Workspace(settings))] == ["1"]
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.NOMINATE, "2")]
    assert holds(settings, project)


def test_a_kill_before_the_head_is_kept_is_mended_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make
) -> None:
    released(settings, project, make())
    before = LedgerHeadStore(settings).head(project.name)
    assert before is not None
    released(settings, project, make(), days=30)
    LedgerHeadStore(settings).save(project.name, before)
    assert holds(settings, project)
    recover(project, Workspace(settings))
    newest = Ledger(Database(settings)).entries(project.name)[-1]
    assert LedgerHeadStore(settings).head(project.name) == Head(seq=2, hash=newest.hash)


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
    recover(project, Workspace(settings))
    recover(project, Workspace(settings))
    assert written(settings, project) == [(Action.PROMOTE, "1"), (Action.PROMOTE, "3")]
    assert holds(settings, project)


RELEASE = """
import os, shutil, signal, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.promotion.release import release
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.registry.model_registry import Registry

home, name, *words = sys.argv[1:]
project = Project(name=name, owner="o", columns=(Number("x"),), target=Binary("y", positive="y"), time="hour",
                  row_id="id", torch=lambda inputs, params: None)

def take_over(home, number):
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(home)})
    version = Registry(settings).version(name, number)
    release(project, Workspace(settings), version, reason="better", decided_by="gate",
            data_until=datetime(2013, 5, 1, tzinfo=UTC))
"""

# Copies the home and releases version 2 there, again and again, each time in a process that kills itself with SIGKILL
# just before the n-th transaction that changed anything is committed, the registry's or ours: between two of these
# nothing changes that a kill could leave behind.
KILLED = (
    RELEASE
    + """
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store, onnxruntime
import fullcircle.loop.promotion.alias_transition  # all before the first fork: once for all of them

changed, seen = set(), 0

def take_over_and_die(home, times):
    @event.listens_for(Engine, "before_cursor_execute")
    def executes(connection, cursor, statement, *_):
        if statement.split(None, 1)[0] in ("INSERT", "UPDATE", "DELETE"):
            changed.add(id(connection))

    @event.listens_for(Engine, "commit")
    def commits(connection):
        global seen
        # The lease's heart beats in a thread of its own, whenever it likes.
        seen += id(connection) in changed and threading.current_thread() is threading.main_thread()
        changed.discard(id(connection))
        if seen == times:
            os.kill(os.getpid(), signal.SIGKILL)

    take_over(home, "2")

killed = status = signal.SIGKILL
times = 0
while status == killed:
    times += 1
    copy = Path(words[0]) / f"{times:02}"
    shutil.copytree(home, copy)
    if (child := os.fork()) == 0:
        take_over_and_die(copy, times)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))
"""
)


def test_kill_9_between_any_two_steps_of_a_release_leaves_one_champion_and_is_settled_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make, tmp_path: Path
) -> None:
    released(settings, project, make())
    nominate(project, Workspace(settings), make(), reason="test", decided_by="a test", data_until=AT)
    before = [(Action.PROMOTE, "1"), (Action.NOMINATE, "2")]
    words = [str(settings.home), project.name, str(tmp_path / "homes")]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    homes = [Settings.from_env({"FULLCIRCLE_HOME": str(path)}) for path in sorted((tmp_path / "homes").iterdir())]
    left = []
    for home in homes:
        assert holds(home, project)
        left.append((*serving(home, project), len(Releases(Database(home)).pending(project.name))))
        recover(project, Workspace(home))
        begun = left[-1] != ("1", None, 0)
        assert serving(home, project) == (("2", "1") if begun else ("1", None))
        assert written(home, project) == [*before, *([(Action.PROMOTE, "2")] if begun else [])]
        assert len(completed(project, Workspace(home))) == 1 + begun
        assert holds(home, project)
    # Nothing yet, lease, intent, previous moved, champion moved, challenger dropped; then it is in the ledger.
    steps = [("1", None, 0), ("1", None, 0), ("1", None, 1), ("1", "1", 1), ("2", "1", 1), ("2", "1", 1)]
    assert left[:7] == [*steps, ("2", "1", 0)]
    assert set(left[7:]) == {("2", "1", 0)}


def test_two_processes_that_release_at_once_take_turns(settings: Settings, project: Project, make: Make) -> None:
    released(settings, project, make())
    make(), make()
    program = RELEASE + "take_over(home, words[0])"
    words = [[str(settings.home), project.name, number] for number in ("2", "3")]
    started = [subprocess.Popen([sys.executable, "-c", program, *each], stderr=subprocess.PIPE) for each in words]
    assert [(each.communicate()[1].decode(), each.returncode) for each in started] == [("", 0)] * 2
    ((_, first), (_, second)) = written(settings, project)[1:]
    assert {first, second} == {"2", "3"}
    assert serving(settings, project) == (second, first)
    assert holds(settings, project)


def test_a_version_is_not_released_by_a_verdict_against_another_champion_than_the_one_that_serves(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second, third = make(), make(), make()
    released(settings, project, first)
    released(settings, project, second)
    for against in (None, "1"):
        for change in (release, nominate):
            with pytest.raises(ChampionChanged, match="and now version 2 serves") as refused:
                change(
                    project, Workspace(settings), third, reason="r", decided_by="gate", against=Judged(champion=against)
                )
            assert refused.value.champion == "2"
    assert serving(settings, project) == ("2", "1")
    assert Releases(Database(settings)).pending(project.name) == []
    release(project, Workspace(settings), third, reason="r", decided_by="gate", against=Judged(champion="2"))
    assert serving(settings, project) == ("3", "2")
    assert written(settings, project) == [(Action.PROMOTE, number) for number in "123"]


def test_a_rollback_that_was_decided_twice_is_carried_out_once(
    settings: Settings, project: Project, make: Make
) -> None:
    for version in (make(), make()):
        released(settings, project, version)
    about = Judged(champion="2")
    rollback(project, Workspace(settings), reason="worse", decided_by="policy", against=about)
    with pytest.raises(ChampionChanged, match="was decided against version 2, and now version 1 serves"):
        rollback(project, Workspace(settings), reason="worse", decided_by="policy", against=about)
    assert serving(settings, project) == ("1", "2")


def test_a_challenger_is_nominated_anew_when_it_was_judged_against_another_champion(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second, third = make(), make(), make()
    released(settings, project, first)
    for champion, version in (("1", third), ("1", third), ("2", third)):
        if champion == "2":
            released(settings, project, second)
        nominate(project, Workspace(settings), version, reason="r", decided_by="d", against=Judged(champion=champion))
    nominations = [entry for entry in Ledger(Database(settings)).entries(project.name) if entry.action == "nominate"]
    assert [(entry.version, entry.previous) for entry in nominations] == [("3", "1"), ("3", "2")]


def test_a_retrain_that_was_given_up_releases_and_nominates_nothing(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second = make(), make()
    released(settings, project, first)
    leases = Leases(Database(settings))
    old = leases.take(resource(project.name), Holder.this_process("a retrain"))
    assert isinstance(old, Lease)
    new = leases.take(resource(project.name), Holder.this_process("a retrain"), over=leases.taken(old.resource))
    assert isinstance(new, Lease)
    for change in (release, nominate):
        with pytest.raises(LeaseLost, match=r"\(token 1\) was given up"):
            change(project, Workspace(settings), second, reason="r", decided_by="gate", lease=old)
    assert (serving(settings, project), written(settings, project)) == (("1", None), [(Action.PROMOTE, "1")])
    release(project, Workspace(settings), second, reason="r", decided_by="gate", lease=new)
    assert serving(settings, project) == ("2", "1")


# Begins to release version 2 and stops itself (SIGSTOP) right after it wrote the alias that it is told.
STOPPED = (
    RELEASE.replace("release(project, Workspace(settings), version, ", "stopping(project, settings, version, ")
    + """
from fullcircle.core.records.ledger_entries import Action
from fullcircle.loop.promotion.alias_transition import alias_transition

class Stops(Registry):
    def set_alias(self, name, alias, version):
        if alias == words[1] and words[2] == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        super().set_alias(name, alias, version)
        if alias == words[1] and words[2] == "after":
            os.kill(os.getpid(), signal.SIGSTOP)

def stopping(project, settings, version, **words):
    with alias_transition(project, Workspace(settings)) as transition:
        transition.registry = Stops(settings)
        transition.release(version, action=Action.PROMOTE, **words)

take_over(home, words[0])
"""
)


@pytest.mark.slow
@pytest.mark.parametrize(("alias", "when"), [("champion", "before"), ("champion", "after")])
def test_one_that_was_stopped_in_the_middle_of_a_release_and_comes_back_moves_nothing_any_more(
    settings: Settings, project: Project, make: Make, alias: str, when: str
) -> None:
    released(settings, project, make())
    make(), make()
    words = [str(settings.home), project.name, "2", alias, when]
    zombie = subprocess.Popen([sys.executable, "-c", STOPPED, *words], stderr=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, zombie.pid, os.WSTOPPED)
        with alias_transition(project, Workspace(settings), ttl_s=0.6) as transition:
            assert transition.settle() == ("finished the release of version 2 that was cut short",)
            third = transition.registry.version(project.name, "3")
            transition.release(third, action=Action.PROMOTE, reason="newer", decided_by="gate")
        zombie.send_signal(signal.SIGCONT)
        _, err = zombie.communicate()
    finally:
        zombie.kill()
        zombie.wait()
    assert (zombie.returncode, "LeaseLost" in err) == (1, True), err
    assert serving(settings, project) == ("3", "2")
    assert written(settings, project) == [(Action.PROMOTE, number) for number in "123"]
    assert holds(settings, project)
