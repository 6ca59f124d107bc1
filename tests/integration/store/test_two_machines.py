"""Two machines that write the same thing to one PostgreSQL: their homes are two, so no lock file is between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.health import Keep, Retrain
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.records.ledger_entries import Aliases
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.store.champion_ledger import Ledger, faults
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.incidents.incident_table import Incidents
from fullcircle.store.releases import Releases
from fullcircle.store.study_journal import Studies
from fullcircle.store.windows import Windows

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
DRIFT = Incident(
    key="p:drift",
    project="p",
    cause="drift",
    severity=Severity.WARNING,
    title="t",
    since=APRIL,
    seen=APRIL,
    columns=(),
    evidence={},
    links={},
)


@pytest.fixture
def other(settings: Settings, db: Database, tmp_path: Path) -> Database:
    """The same database, from another machine; both have migrated it."""
    found = Database(replace(settings, home=tmp_path / "other"))
    for each in (db, found):
        Windows(each).all("p")
    return found


def overtaken(db: Database, fast: Callable[[], object], slow: Callable[[], Any]) -> Any:
    """What `slow` comes to, which another machine does when `fast` has written and not committed yet."""
    with ThreadPoolExecutor(1) as pool:
        with db.session() as session:
            fast()
            result = pool.submit(slow)
            until_it_waits(session, result)
        return result.result(60)


def until_it_waits(session: Session, result: Future[Any]) -> None:
    """Until somebody waits for a lock of ours."""
    for _ in range(6000):
        assert not result.done(), f"it did not meet the other writer: {result}"
        if session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one():
            return
        time.sleep(0.01)
    pytest.fail("it never came to the database")


def change(version: str) -> Release:
    return Release(project="p", version=version, previous=None, at=APRIL, reason="r", decided_by="d")


def test_the_first_decision_stands(db: Database, other: Database) -> None:
    def fast() -> None:
        Decisions(db).record("p", "2013-04", Retrain(reason="first"), at=APRIL, evidence={})

    def slow() -> int:
        return Decisions(other).record("p", "2013-04", Keep(reason="late"), at=APRIL, evidence={})

    number = overtaken(db, fast, slow)
    assert [(row.id, row.decision) for row in Decisions(db).all("p")] == [(number, Retrain(reason="first"))]


def test_one_release_is_pending_and_the_other_is_refused_in_one_line(db: Database, other: Database) -> None:
    with pytest.raises(FullcircleError, match="version 2 of p cannot be released: the release of version 1 was begun"):
        overtaken(db, lambda: Releases(db).begin(change("1")), lambda: Releases(other).begin(change("2")))
    assert [row.release.version for row in Releases(db).pending("p")] == ["1"]


def test_a_release_is_completed_by_one_of_them(db: Database, other: Database) -> None:
    number = Releases(db).begin(change("1"))
    done: list[bool] = []
    late = overtaken(db, lambda: done.append(Releases(db).complete(number)), lambda: Releases(other).complete(number))
    assert (done, late) == ([True], False)


def test_the_window_that_was_kept_last_stays(db: Database, other: Database) -> None:
    overtaken(
        db,
        lambda: Windows(db).record("p", "2013-04", at=APRIL, row={"by": "first"}),
        lambda: Windows(other).record("p", "2013-04", at=APRIL, row={"by": "late"}),
    )
    assert Windows(db).all("p") == [{"by": "late"}]


def test_one_incident_is_opened_and_its_page_is_queued_once(db: Database, other: Database) -> None:
    def seen_by(machine: Database) -> bool:
        incidents = Incidents(machine)
        with machine.session():
            number, opened = incidents.see(DRIFT)
            incidents.queue(number, "json-1", "open", {})
        return opened

    first: list[bool] = []
    late = overtaken(db, lambda: first.append(seen_by(db)), lambda: seen_by(other))
    assert (first, late, len(Incidents(db).undelivered("p"))) == ([True], False, 1)
    (row,) = Incidents(db).open("p")
    overtaken(
        db,
        lambda: Incidents(db).queue(row.id, "json-1", "resolved", {}),
        lambda: Incidents(other).queue(row.id, "json-1", "resolved", {}),
    )
    assert [page.kind for page in Incidents(db).undelivered("p")] == ["open", "resolved"]


def test_the_ledger_is_not_forked(db: Database, other: Database) -> None:
    first, second = Ledger(db), Ledger(other)
    overtaken(
        db,
        lambda: first.append(change("1"), aliases=Aliases(champion="1")),
        lambda: second.append(change("2"), aliases=Aliases(champion="2")),
    )
    entries = first.entries("p")
    assert [(each.seq, each.version) for each in entries] == [(1, "1"), (2, "2")]
    assert faults(entries) == ()


def test_the_journal_of_a_study_has_no_gap(db: Database, other: Database) -> None:
    overtaken(db, lambda: Studies(db).append("s", ["a", "a, too"]), lambda: Studies(other).append("s", ["b", "b, too"]))
    assert Studies(db).entries("s") == ["a", "a, too", "b", "b, too"]
