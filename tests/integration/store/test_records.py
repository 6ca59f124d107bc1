"""Decisions, releases and incidents: what is recorded once stays, and a kill leaves a row that says where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import IntegrityError

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.health import Keep, Retrain, Rollback
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.incidents.incident_table import Incidents
from fullcircle.store.releases import Releases

pytestmark = pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)
APRIL = datetime(2013, 4, 1, tzinfo=UTC)


def incident(key: str = "p/drift", **fields: object) -> Incident:
    made = Incident(
        key=key,
        project="p",
        cause="drift",
        severity=Severity.WARNING,
        title="9 of 20 columns drifted",
        since=APRIL,
        seen=APRIL,
        columns=("temp", "humid"),
        evidence={"temp": "0.4 over 0.1"},
        links={"run": "#/x"},
    )
    return replace(made, **fields)


def release(version: str, previous: str | None = None) -> Release:
    return Release(project="p", version=version, previous=previous, at=APRIL, reason="better", decided_by="gate")


def test_decisions_come_back_as_they_were(db: Database) -> None:
    decisions = Decisions(db)
    new_york = datetime(2013, 4, 30, 20, tzinfo=timezone(timedelta(hours=-4)))
    made = {
        "2013-04": (Keep(reason="fine"), APRIL),
        "2013-05": (Retrain(reason="AUC fell"), new_york),
        "2013-06": (Rollback(to="2", reason="worse"), datetime(2013, 6, 1, tzinfo=UTC)),
    }
    for window, (decision, at) in made.items():
        decisions.record("p", window, decision, at=at, evidence={"drop": 0.03})
    assert {row.window: (row.decision, row.at) for row in decisions.all("p")} == made
    assert decisions.retrains("p") == (datetime(2013, 5, 1, tzinfo=UTC),)
    assert decisions.retrains("q") == ()


def test_the_first_decision_on_a_window_stands(db: Database) -> None:
    decisions = Decisions(db)
    first = decisions.record("p", "2013-04", Retrain(reason="a"), at=APRIL, evidence={})
    assert decisions.record("p", "2013-04", Keep(reason="b"), at=APRIL, evidence={}) == first
    row = decisions.get("p", "2013-04")
    assert row is not None
    assert row.decision == Retrain(reason="a")
    decisions.clear("p")
    assert decisions.get("p", "2013-04") is None


def test_a_naive_time_is_a_mistake(db: Database) -> None:
    with pytest.raises(ValueError, match="must say its zone"):
        Decisions(db).record("p", "w", Keep(reason=""), at=datetime(2013, 4, 1), evidence={})  # noqa: DTZ001


def test_a_release_has_two_phases(db: Database) -> None:
    releases = Releases(db)
    first = releases.begin(release("1"))
    assert [row.id for row in releases.pending("p")] == [first]
    assert releases.begin(release("1")) == first, "beginning again goes on with the same one"
    with pytest.raises(FullcircleError, match="version 2 of p cannot be released: the release of version 1 was begun"):
        releases.begin(release("2"))
    releases.complete(first)
    releases.complete(first)
    second = releases.begin(release("2", previous="1"))
    releases.abandon(second, "the graph does not load")
    with pytest.raises(ValueError, match=f"release {second} cannot become complete: it is abandoned"):
        releases.complete(second)
    history = releases.history("p")
    assert [(row.release, row.state, row.why) for row in history] == [
        (release("1"), "complete", ""),
        (release("2", previous="1"), "abandoned", "the graph does not load"),
    ]
    assert releases.pending("p") == []


def test_a_release_that_was_begun_survives_kill_9(settings: Settings, db: Database) -> None:
    program = (
        "import os, signal, sys; from datetime import datetime, UTC;"
        "from fullcircle.core.records.releases import Release;"
        "from fullcircle.core.settings import Settings; from fullcircle.store.database import Database;"
        "from fullcircle.store.releases import Releases;"
        "r = Release(project='p', version='7', previous=None, at=datetime.now(UTC), reason='', decided_by='');"
        "env = {'FULLCIRCLE_HOME': sys.argv[1], 'FULLCIRCLE_DATABASE_URL': sys.argv[2]};"
        "Releases(Database(Settings.from_env(env))).begin(r);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(settings.home), settings.database_url], check=False)
    assert done.returncode == -signal.SIGKILL
    (row,) = Releases(db).pending("p")
    assert row.release.version == "7"
    Releases(db).abandon(row.id, "killed")
    assert Releases(db).pending("p") == []


def test_one_incident_is_open_a_key(db: Database) -> None:
    incidents = Incidents(db)
    first, opened = incidents.see(incident())
    again = incident(seen=APRIL + timedelta(days=30), since=APRIL + timedelta(days=30), severity=Severity.CRITICAL)
    assert (opened, incidents.see(again)) == (True, (first, False))
    (row,) = incidents.open("p")
    assert row.incident == replace(again, since=APRIL)
    later = APRIL + timedelta(days=60)
    incidents.change(first, resolved=later)
    assert incidents.open("p") == []
    assert [row.resolved for row in incidents.all("p")] == [later]
    second, opened = incidents.see(incident())
    assert opened
    assert second != first
    assert len(incidents.all("p")) == 2


def test_the_database_itself_refuses_a_second_open_incident(db: Database) -> None:
    from sqlalchemy import text

    Incidents(db).see(incident())
    copy = text(
        "INSERT INTO incidents (key, project, cause, severity, title, since, seen, columns, evidence, links) "
        "SELECT key, project, cause, severity, title, since, seen, columns, evidence, links FROM incidents"
    )
    with (
        pytest.raises(
            FullcircleError, match=r"(UNIQUE constraint failed|unique constraint .one_open_incident.)"
        ) as refusal,
        db.session() as session,
    ):
        session.execute(copy)
    assert isinstance(refusal.value.__cause__, IntegrityError)


def test_a_page_waits_until_it_is_delivered_and_is_queued_once(db: Database) -> None:
    incidents = Incidents(db)
    number, _ = incidents.see(incident())
    for _ in range(2):
        incidents.queue(number, "json-1", "open", {"title": "t", "body": "b"})
    incidents.queue(number, "json-2", "open", {"title": "t", "body": "b"})
    first, second = incidents.undelivered("p")
    assert (first.route, first.project, first.page) == ("json-1", "p", {"title": "t", "body": "b"})
    incidents.failed(first.id, "no answer")
    incidents.delivered(second.id)
    (left,) = incidents.undelivered()
    assert (left.id, left.attempts, left.error) == (first.id, 1, "no answer")
    assert incidents.undelivered("q") == []
    incidents.delivered(first.id)
    incidents.queue(number, "json-1", "open", {})
    assert incidents.undelivered() == []
