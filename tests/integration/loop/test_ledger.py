"""The ledger beside a real MLflow: aliases moved behind the platform's back, approvals, and what the commands say."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.apps.replay.replay import replay
from fullcircle.cli import main
from fullcircle.core.errors import FullcircleError, ModelUnavailable, ProjectInvalid, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import WindowCheck
from fullcircle.core.records.ledger_entries import Action, Aliases
from fullcircle.core.records.releases import CHALLENGER, CHAMPION, ModelVersion, Release
from fullcircle.core.security.identity import system_user
from fullcircle.core.settings import Settings
from fullcircle.loop.overview import overview
from fullcircle.loop.promotion.approval import approve, nominate, promote, reject
from fullcircle.loop.promotion.ledger_audit import accept, repair, verify, who
from fullcircle.loop.promotion.release import recover, refuse_moved, release, rollback
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents
from fullcircle.store.releases import Releases
from fullcircle.tracking.registry.ledger_head import LedgerHeadStore
from fullcircle.tracking.registry.model_registry import Registry

AT = datetime(2013, 4, 1, tzinfo=UTC)
Make = Callable[..., ModelVersion]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def mlflow(settings: Settings) -> MlflowClient:
    """What anybody has who can reach the tracking server."""
    return MlflowClient(settings.tracking_uri, registry_uri=settings.tracking_uri)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def two(settings: Settings, project: Project, make: Make) -> tuple[ModelVersion, ModelVersion]:
    """Version 1 was released in April, version 2 in May."""
    first, second = make(), make()
    for version, at in ((first, AT), (second, AT + timedelta(days=30))):
        release(project, Workspace(settings), version, reason="better", decided_by="gate", data_until=at)
    return first, second


def named(settings: Settings, project: Project) -> dict[str, str]:
    return LedgerHeadStore(settings).aliases(project.name).named()


def last(settings: Settings, project: Project) -> Any:
    return Ledger(Database(settings)).entries(project.name)[-1]


def wrong(settings: Settings, project: Project) -> tuple[str, ...]:
    (checked,) = verify(Workspace(settings), [project.name])
    return checked.wrong


def raw(settings: Settings, *statements: str) -> None:
    """What somebody with the file and without scruples does."""
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db", timeout=30)) as connection:
        kept = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for statement in ("DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete", *statements):
            connection.execute(statement)
        for (trigger,) in kept:
            connection.execute(trigger)
        connection.commit()


def test_an_alias_moved_in_mlflow_is_reported_and_nothing_is_released_over_it(
    settings: Settings, project: Project, make: Make, two: object, mlflow: MlflowClient
) -> None:
    assert (wrong(settings, project), overview(project, Workspace(settings))["ledger"]) == ((), [])
    third = make()
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    what = f"alias champion of {project.name} names version 1, the ledger says version 2"
    assert wrong(settings, project) == (what,)
    assert overview(project, Workspace(settings))["ledger"] == [what], "and whoever looks at the status learns of it"
    for change in (
        lambda: release(project, Workspace(settings), third, reason="r", decided_by="d", data_until=AT),
        lambda: rollback(project, Workspace(settings), reason="r", decided_by="d"),
        lambda: nominate(project, Workspace(settings), third, reason="r", decided_by="d", data_until=AT),
        lambda: refuse_moved(project, Workspace(settings)),
    ):
        with pytest.raises(FullcircleError, match=r"moved behind the platform's back, so nothing is changed.*heal"):
            change()
    assert named(settings, project) == {"champion": "1", "previous": "1"}
    assert last(settings, project).version == "2"


def test_a_version_that_mlflows_promote_button_made_is_reported_and_serves_nobody(
    settings: Settings, project: Project, two: object, mlflow: MlflowClient
) -> None:
    original = f"models:/{project.name}/2"
    mlflow.copy_model_version(original, f"{project.name}-elsewhere")
    assert wrong(settings, project) == (), "a model of another name is no concern of the project's"
    copy = mlflow.copy_model_version(original, project.name)  # what the button does
    (said,) = wrong(settings, project)
    assert said.startswith(f"version {copy.version} was copied in MLflow")
    assert overview(project, Workspace(settings))["ledger"] == [said], "and whoever looks at the status learns of it"
    assert named(settings, project)["champion"] == "2"
    mlflow.delete_model_version(project.name, copy.version)
    assert wrong(settings, project) == ()


def test_a_version_that_somebody_registered_by_hand_is_never_used(
    settings: Settings, project: Project, two: tuple[ModelVersion, ModelVersion], mlflow: MlflowClient
) -> None:
    source = mlflow.get_model_version(project.name, "1").source
    by_hand = mlflow.create_model_version(project.name, source, run_id=two[0].run_id)
    with pytest.raises(ModelUnavailable, match="has no digest that it could be held against"):
        promote(project, Workspace(settings), str(by_hand.version), why="it is mine", who="ada")
    assert (named(settings, project)["champion"], wrong(settings, project)) == ("2", ())


def test_a_moved_alias_is_healed_and_the_ledger_says_by_whom_and_from_what(
    settings: Settings, project: Project, two: object, mlflow: MlflowClient
) -> None:
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    mlflow.delete_registered_model_alias(project.name, "previous")
    assert len(repair(project, Workspace(settings), why="a mistake in the UI", by="ada")) == 2
    assert named(settings, project) == {"champion": "2", "previous": "1"}
    entry = last(settings, project)
    assert (entry.action, entry.version, entry.previous, entry.who) == (Action.HEAL, "2", "1", "ada")
    assert wrong(settings, project) == ()
    assert repair(project, Workspace(settings), why="again", by="ada") == ()
    assert last(settings, project) == entry
    assert who(project, Workspace(settings), datetime.now(UTC))["by"] == "gate", (
        "healed, version 2 serves by its own release"
    )


def test_a_moved_alias_can_be_accepted_as_it_is(
    settings: Settings, project: Project, two: tuple[ModelVersion, ModelVersion], mlflow: MlflowClient
) -> None:
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    accept(project, Workspace(settings), why="moved by hand in the outage", by="ada")
    assert named(settings, project) == {"champion": "1", "previous": "1"}
    assert wrong(settings, project) == ()
    found = who(project, Workspace(settings), datetime.now(UTC))
    assert (found["version"], found["by"], found["action"], found["why"]) == (
        *("1", "ada", "accept", "moved by hand in the outage"),
    )
    assert found["model_digest"] == two[0].digest
    assert accept(project, Workspace(settings), why="again", by="ada") == ()


def test_what_was_deleted_in_mlflow_is_not_healed_but_accepted_and_the_project_goes_on(
    settings: Settings, project: Project, make: Make, two: object, mlflow: MlflowClient
) -> None:
    mlflow.delete_model_version(project.name, "1")
    assert wrong(settings, project) == (
        f"alias previous of {project.name} names no version, the ledger says version 1",
    )
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"version 1 of .* was deleted in MLflow.*ledger accept"):
            repair(project, Workspace(settings), why="put it back", by="ada")
    assert Releases(Database(settings)).pending(project.name) == [], "and nothing of it is left half done"
    accept(project, Workspace(settings), why="it is gone", by="ada")
    assert wrong(settings, project) == ()
    release(project, Workspace(settings), make(), reason="better", decided_by="gate")
    assert named(settings, project) == {"champion": "3", "previous": "2"}


def test_a_model_that_was_deleted_in_mlflow_is_accepted_as_gone_and_begun_anew(
    settings: Settings, project: Project, make: Make, two: object, mlflow: MlflowClient
) -> None:
    mlflow.delete_registered_model(project.name)
    assert len(wrong(settings, project)) == 2
    accept(project, Workspace(settings), why="deleted by mistake", by="ada")
    assert (wrong(settings, project), last(settings, project).version) == ((), "")
    with pytest.raises(FullcircleError, match="had no champion at"):
        who(project, Workspace(settings))
    release(project, Workspace(settings), make(), reason="anew", decided_by="gate")
    assert (wrong(settings, project), named(settings, project)) == ((), {"champion": "1"})


@pytest.mark.parametrize("action", [Action.HEAL, Action.REJECT, Action.NOMINATE])
def test_a_change_that_was_cut_short_is_undone_when_its_version_was_deleted_meanwhile(
    settings: Settings, project: Project, make: Make, two: object, mlflow: MlflowClient, action: Action
) -> None:
    third = make()
    if action is Action.REJECT:
        nominate(project, Workspace(settings), third, reason="r", decided_by="d")
    gone = "2" if action is Action.REJECT else third.version if action is Action.NOMINATE else "1"
    about = {"reason": "r", "decided_by": "d", "at": AT, "data_until": None}
    intent = Release(project=project.name, version=third.version, previous="2", action=action.value, **about)
    Releases(Database(settings)).begin(intent)
    mlflow.delete_model_version(project.name, gone)
    (said,) = recover(project, Workspace(settings))
    assert said.startswith("undid the unfinished ")
    assert f"version {gone} of {project.name}" in said
    assert recover(project, Workspace(settings)) == ()
    assert Releases(Database(settings)).pending(project.name) == []


def test_a_first_champion_that_was_set_by_hand_has_to_be_accepted(
    settings: Settings, project: Project, make: Make, mlflow: MlflowClient
) -> None:
    make(), make()
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    assert wrong(settings, project) == (
        f"alias champion of {project.name} names version 1, the ledger says no version",
    )
    accept(project, Workspace(settings), why="it served before", by="ada")
    assert wrong(settings, project) == ()
    assert who(project, Workspace(settings), datetime.now(UTC))["version"] == "1"


def test_a_removed_newest_entry_is_found_by_what_the_registry_knows(
    settings: Settings, project: Project, make: Make, two: object, mlflow: MlflowClient
) -> None:
    raw(settings, f"DELETE FROM ledger WHERE project = '{project.name}' AND seq = 2")
    missing = "entry 2 is missing at the end: the registry knows of entry 2"
    assert missing in wrong(settings, project)
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    mlflow.delete_registered_model_alias(project.name, "previous")
    assert wrong(settings, project) == (missing,), "moving the aliases along does not hide it"
    release(project, Workspace(settings), make(), reason="r", decided_by="d", data_until=AT)
    assert any("entry 2: it is not the entry that the registry knows of" in each for each in wrong(settings, project))
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    with pytest.raises(FullcircleError, match=r"does not hold \(entry 2: it is not the entry"):
        repair(project, Workspace(settings), why="w", by="ada")
    accept(project, Workspace(settings), why="the database came back from Monday's backup", by="ada")
    assert wrong(settings, project) == ()


def test_nobody_is_told_who_will_serve(settings: Settings, project: Project, two: object) -> None:
    with pytest.raises(UsageError, match="is still to come: the ledger knows who served, not who will"):
        who(project, Workspace(settings), datetime.now(UTC) + timedelta(hours=1))


def test_an_edited_entry_is_found_and_cannot_be_accepted_away(
    settings: Settings, project: Project, two: object
) -> None:
    raw(settings, f"UPDATE ledger SET who = 'somebody else' WHERE project = '{project.name}' AND seq = 1")
    edited = "entry 1: it was edited: its hash is not that of its content"
    assert wrong(settings, project) == (edited,)
    with pytest.raises(FullcircleError, match="does not hold, so it cannot say who served: entry 1: it was edited"):
        who(project, Workspace(settings), AT)
    assert accept(project, Workspace(settings), why="w", by="ada") == ()
    assert wrong(settings, project) == (edited,)
    rollback(project, Workspace(settings), reason="traffic comes first", decided_by="on-call")
    assert named(settings, project)["champion"] == "1"


def test_a_heal_to_a_graph_that_does_not_load_changes_nothing(
    settings: Settings, project: Project, two: tuple[ModelVersion, ModelVersion], mlflow: MlflowClient
) -> None:
    mlflow.set_registered_model_alias(project.name, CHAMPION, "1")
    mlflow.set_model_version_tag(project.name, "2", "fullcircle.digest", "0" * 64)
    with pytest.raises(ModelUnavailable, match="not 000000000000 as recorded"):
        repair(project, Workspace(settings), why="w", by="ada")
    assert named(settings, project)["champion"] == "1"
    assert last(settings, project).action is Action.PROMOTE


def human(project: Project, *routes: str) -> Project:
    return replace(project, approval="human", routes=routes)


def propose(project: Project, settings: Settings, version: ModelVersion) -> None:
    nominate(
        project,
        Workspace(settings),
        version,
        reason="weekly",
        decided_by="schedule",
        data_until=AT + timedelta(days=60),
    )


def test_a_challenger_that_waits_pages_once_with_the_link_to_review_it(
    settings: Settings, project: Project, make: Make, two: object, receiver: WebhookReceiver
) -> None:
    asked, third = human(project, receiver.url), make()
    propose(asked, settings, third)
    propose(asked, settings, third)
    assert named(settings, project) == {"champion": "2", "previous": "1", "challenger": "3"}
    (page,) = receiver.pages
    assert page["title"] == f"[{project.name}] info: {project.name}: version 3 waits for approval"
    for words in (
        f"http://127.0.0.1:5000/#/models/{project.name}/versions/3",
        f"fullcircle approve {project.name} 3 --why TEXT",
        f"fullcircle reject {project.name} 3 --why TEXT",
    ):
        assert words in page["message"]
    end = AT + timedelta(days=90)
    nothing = WindowCheck(project=project.name, start=AT, end=end, champion="2", rows=900, labelled=900)
    Dispatcher(Database(settings), asked, settings).report(nothing)
    assert len(receiver.pages) == 1, "a window in which nothing is wrong does not end the wait"
    approve(asked, Workspace(settings), "3", why="the slices are fine", who="ada")
    assert named(settings, project) == {"champion": "3", "previous": "2"}
    assert [each["title"] for each in receiver.pages[1:]] == [
        f"[{project.name}] resolved: {project.name}: version 3 waits for approval"
    ]
    found = who(project, Workspace(settings), datetime.now(UTC))
    assert (found["version"], found["by"], found["why"], found["action"], found["verdict"]) == (
        *("3", "ada", "the slices are fine", "approve", "promote"),
    )
    assert found["data_digest"] == "data-3"
    assert wrong(settings, project) == ()


def test_a_newer_challenger_replaces_the_one_that_waits(
    settings: Settings, project: Project, make: Make, two: object, receiver: WebhookReceiver
) -> None:
    asked = human(project, receiver.url)
    for version in (make(), make()):
        propose(asked, settings, version)
    assert [each["title"].split(": ")[0].split("] ")[1] for each in receiver.pages] == ["info", "info", "resolved"]
    (waits,) = Incidents(Database(settings)).open(project.name)
    assert waits.incident.title.endswith("version 4 waits for approval")
    with pytest.raises(UsageError, match=r"version 3 of .* does not wait for approval: version 4 does"):
        approve(asked, Workspace(settings), "3", why="w", who="ada")
    assert named(settings, project)["champion"] == "2"


def test_a_version_that_takes_over_ends_the_wait_of_those_made_before_it_and_of_no_others(
    settings: Settings, project: Project, make: Make, two: object, receiver: WebhookReceiver
) -> None:
    asked, older, newer = human(project, receiver.url), make(), make()
    propose(asked, settings, newer)
    promote(asked, Workspace(settings), older.version, why="a storm is coming", who="ada")
    assert named(settings, project) == {"champion": "3", "previous": "2", "challenger": "4"}
    promote(asked, Workspace(settings), make().version, why="better still", who="ada")
    assert named(settings, project) == {"champion": "5", "previous": "3"}
    assert receiver.pages[-1]["title"].endswith("resolved: " + f"{project.name}: version 4 waits for approval")
    assert wrong(settings, project) == ()


def test_a_challenger_is_not_approved_against_another_champion_than_the_one_it_was_judged_against(
    settings: Settings, project: Project, make: Make, two: object
) -> None:
    asked = human(project)
    propose(asked, settings, make())
    rollback(project, Workspace(settings), reason="complaints", decided_by="on-call")
    with pytest.raises(UsageError, match=r"version 3 of .* was judged against version 2, and now version 1 serves"):
        approve(asked, Workspace(settings), "3", why="read the card", who="ada")
    assert named(settings, project)["champion"] == "1"
    promote(asked, Workspace(settings), "3", why="it is still the better one", who="ada")
    assert named(settings, project) == {"champion": "3", "previous": "1"}
    assert wrong(settings, project) == ()


def test_a_rejected_challenger_is_no_challenger_any_more(
    settings: Settings, project: Project, make: Make, two: object
) -> None:
    asked = human(project)
    propose(asked, settings, make())
    reject(asked, Workspace(settings), "challenger", why="worse for the small carriers", who="ada")
    assert named(settings, project) == {"champion": "2", "previous": "1"}
    assert (last(settings, project).action, last(settings, project).version) == (Action.REJECT, "3")
    assert Incidents(Database(settings)).open(project.name) == []
    for again in (approve, reject):
        with pytest.raises(UsageError, match=r"version 3 of .* does not wait for approval: none does"):
            again(asked, Workspace(settings), "3", why="w", who="ada")
    assert wrong(settings, project) == ()


@pytest.mark.parametrize("moved", [False, True])
def test_a_nomination_that_was_cut_short_is_finished_and_pages_once(
    settings: Settings, project: Project, make: Make, two: object, receiver: WebhookReceiver, moved: bool
) -> None:
    asked, third = human(project, receiver.url), make()
    begin(settings, project, third, Action.NOMINATE)
    if moved:
        Registry(settings).set_alias(project.name, CHALLENGER, "3")
    assert wrong(settings, project) == ()
    assert recover(asked, Workspace(settings)) == ("finished the nomination of version 3 that was cut short",)
    propose(asked, settings, third)
    assert named(settings, project)[CHALLENGER] == "3"
    assert [entry.version for entry in Ledger(Database(settings)).entries(project.name)] == ["1", "2", "3"]
    assert len(receiver.pages) == 1


@pytest.mark.parametrize("moved", [False, True])
def test_a_rejection_that_was_cut_short_is_finished(
    settings: Settings, project: Project, make: Make, two: object, moved: bool
) -> None:
    propose(project, settings, third := make())
    begin(settings, project, third, Action.REJECT)
    if moved:
        Registry(settings).drop_alias(project.name, CHALLENGER)
    recover(project, Workspace(settings))
    assert named(settings, project) == {"champion": "2", "previous": "1"}
    assert [entry.action for entry in Ledger(Database(settings)).entries(project.name)][2:] == ["nominate", "reject"]
    assert wrong(settings, project) == ()


def test_an_approval_that_was_cut_short_is_finished_as_an_approval(
    settings: Settings, project: Project, make: Make, two: object
) -> None:
    propose(project, settings, third := make())
    begin(settings, project, third, Action.APPROVE)
    Registry(settings).set_alias(project.name, "previous", "2")
    recover(project, Workspace(settings))
    assert named(settings, project) == {"champion": "3", "previous": "2"}
    assert (last(settings, project).action, last(settings, project).seq) == (Action.APPROVE, 4)
    assert wrong(settings, project) == ()


def begin(settings: Settings, project: Project, version: ModelVersion, action: Action) -> None:
    """The first phase of a change, after which its process was killed."""
    intent = Release(
        project=project.name,
        version=version.version,
        previous="2",
        at=AT,
        reason="r",
        decided_by="d",
        action=action.value,
    )
    Releases(Database(settings)).begin(intent)


def test_a_challenger_that_the_gate_refused_does_not_wait_and_pages_nobody(
    settings: Settings, project: Project, make: Make, two: object, receiver: WebhookReceiver
) -> None:
    asked = human(project, receiver.url)
    propose(asked, settings, make(verdict="inconclusive"))
    assert named(settings, project)[CHALLENGER] == "3"
    assert receiver.pages == []
    assert (last(settings, project).verdict, last(settings, project).aliases) == (
        "inconclusive",
        Aliases(champion="2", challenger="3", previous="1"),
    )


def test_who_approves_is_the_gate_or_a_human_and_a_replay_has_nobody_to_ask(
    settings: Settings, project: Project
) -> None:
    with pytest.raises(ProjectInvalid, match="approval must be one of gate, human, got 'boss'"):
        replace(project, approval="boss")
    with pytest.raises(UsageError, match="has approval='human', and there is nobody to ask in a replay"):
        replay(human(project), Workspace(settings))


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(
    settings: Settings,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command line in this process, in a folder with the project."""
    (tmp_path / project.name).mkdir()
    (tmp_path / project.name / "project.py").write_text(
        "from fullcircle.core.project import Binary, Number, Project\n"
        f"project = Project(name={project.name!r}, owner='o', columns=(Number('x'),), row_id='id', time='hour',\n"
        "                  target=Binary('y', positive='yes'), torch=lambda inputs, params: None)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")

    def once(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["fullcircle", *words])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capsys.readouterr())

    return once


def test_who_answers_from_the_command_line(
    run: Run, settings: Settings, project: Project, two: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = Ledger(Database(settings)).entries(project.name)
    done = run("who", project.name, "--at", first.at.isoformat(), "--json")
    answer = json.loads(done.out)
    assert answer.pop("identity")["user"] == system_user()
    assert answer == {
        "project": project.name,
        "at": first.at.isoformat(),
        "version": "1",
        "model_digest": two[0].digest,
        "data_digest": "data-1",
        "since": first.at.isoformat(),
        "time": "ledger",
        "recorded": first.recorded.isoformat(),
        "data_until": "2013-04-01T00:00:00+00:00",
        "by": "gate",
        "why": "better",
        "action": "promote",
        "verdict": "promote",
        "entry": 1,
    }
    shown = run("who", project.name)
    assert (shown.code, "version 2" in shown.out, two[1].digest in shown.out) == (0, True, True)
    assert "rows before 2013-05-01 00:00 UTC" in shown.out
    before = run("who", project.name, "--at", "2013-04-15T12:00")
    assert before.code == 1, "what a version learned until is not when it served"
    assert "had no champion at 2013-04-15 12:00 UTC by its ledger: its first entry is of 20" in before.err
    assert run("who", project.name, "--at", "noon").code == 2
    assert second.at >= first.at


def test_what_was_written_last_serves_now_although_the_clock_was_set_back(
    run: Run, settings: Settings, project: Project, two: object
) -> None:
    """The clock was two hours ahead when version 3 was released, and has been set right since."""
    ahead = Ledger(Database(settings), clock=lambda: datetime.now(UTC) + timedelta(hours=2))
    change = Release(project=project.name, version="1", previous="2", at=AT, reason="r", decided_by="d")
    written = ahead.append(change, aliases=Aliases(champion="1", previous="2"))
    Registry(settings).set_alias(project.name, "champion", "1")
    Registry(settings).set_alias(project.name, "previous", "2")
    rollback(project, Workspace(settings), reason="complaints", decided_by="on-call")
    entry = last(settings, project)
    assert (entry.version, entry.at) == ("2", written.at)
    assert entry.recorded < entry.at
    assert json.loads(run("who", project.name, "--json").out)["version"] == "2"
    assert json.loads(run("who", project.name, "--at", entry.at.isoformat(), "--json").out)["version"] == "2"
    assert wrong(settings, project) == ()


def test_a_version_is_promoted_and_the_ledger_verified_and_shown(
    run: Run, project: Project, two: object, mlflow: MlflowClient
) -> None:
    done = run("promote", project.name, "1", "--why", "complaints", "--json")
    assert (done.code, json.loads(done.out)["version"], json.loads(done.out)["previous"]) == (0, "1", "2")
    good = run("ledger", "verify", project.name)
    assert (good.code, good.out) == (0, f"{project.name}: 3 entries, and the aliases are as they say\n")
    table = run("ledger", "show", project.name)
    assert (table.code, table.out.count("promote"), "complaints" in table.out) == (0, 6, True)
    entries = json.loads(run("ledger", "show", project.name, "--json").out)
    assert [(each["seq"], each["version"]) for each in entries] == [(1, "1"), (2, "2"), (3, "1")]
    mlflow.set_registered_model_alias(project.name, CHAMPION, "2")
    bad = run("ledger", "verify", "--json")
    assert bad.code == 1
    assert {each["project"]: each["holds"] for each in json.loads(bad.out)}[project.name] is False
    assert run("ledger", "heal", project.name, "--why", "w").out.endswith("the ledger says version 1: put back\n")
    assert "nothing to accept" in run("ledger", "accept", project.name, "--why", "w").out
    assert run("ledger", "verify", project.name).code == 0


def test_a_challenger_is_approved_and_another_rejected_from_the_command_line(
    run: Run, settings: Settings, project: Project, make: Make, two: object
) -> None:
    propose(project, settings, make())
    done = run("approve", project.name, "3", "--why", "fine")
    assert (done.code, done.out) == (
        0,
        f"{project.name}: version 3 is approved and the champion, version 2 the previous one\n",
    )
    propose(project, settings, make())
    refused = run("reject", project.name, "4", "--why", "not fine")
    assert (refused.code, refused.out) == (0, f"{project.name}: version 4 is rejected, version 3 stays the champion\n")


@pytest.mark.parametrize("command", ["promote", "approve", "reject"])
def test_an_unknown_version_or_project_is_one_line_with_the_nearest_and_exit_code_2(
    run: Run, project: Project, two: object, command: str
) -> None:
    number = run(command, project.name, "7", "--why", "w")
    assert number.code == 2
    assert f"{project.name} has no version '7'\n  -> the nearest are 2, 1\n" in number.err
    alias = run(command, project.name, "champoin", "--why", "w")
    assert (alias.code, "did you mean champion?" in alias.err) == (2, True)
    other = run(command, project.name[:-1], "1", "--why", "w")
    assert (other.code, f"did you mean {project.name}?" in other.err) == (2, True)
    for silent in (" ", "two\nlines", "no text: \udcff"):
        said = run(command, project.name, "1", "--why", silent)
        assert (said.code, "a reason is needed" in said.err) == (2, True)
    assert run(command, project.name, "1").code == 2


def test_an_unknown_project_has_no_ledger(run: Run, project: Project) -> None:
    for words in (("who",), ("ledger", "verify"), ("ledger", "show"), ("ledger", "heal", "--why", "w")):
        done = run(*words, project.name[:-1])
        assert (done.code, f"did you mean {project.name}?" in done.err) == (2, True)
    empty = run("who", project.name)
    assert (empty.code, "it has no entry" in empty.err) == (1, True)
