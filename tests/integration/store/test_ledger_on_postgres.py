"""The ledger on a real PostgreSQL: one chain however many write, and whatever is done to it there is found."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.ledger_entries import Aliases, Entry
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.store.champion_ledger import Ledger, faults
from fullcircle.store.database import Database
from fullcircle.store.releases import Releases

APPENDING = """
import sys
from datetime import UTC, datetime
from fullcircle.core.records.ledger_entries import Aliases
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.champion_ledger import Ledger

env = {"FULLCIRCLE_HOME": sys.argv[1], "FULLCIRCLE_DATABASE_URL": sys.argv[2]}
ledger = Ledger(Database(Settings.from_env(env)))
for number in range(25):
    at = datetime.now(UTC)
    change = Release(project="p", version=str(number), previous=None, at=at, reason="", decided_by=sys.argv[3])
    ledger.append(change, aliases=Aliases())
"""
APRIL = datetime(2013, 4, 1, 0, 0, 0, 123456, tzinfo=UTC)


def change(version: str) -> Release:
    return Release(
        project="p", version=version, previous=None, at=APRIL + timedelta(days=int(version)), reason="r", decided_by="d"
    )


@pytest.fixture
def ledger(db: Database) -> Ledger:
    """A ledger of three entries."""
    found = Ledger(db)
    for version in "123":
        found.append(change(version), aliases=Aliases(champion=version), verdict="promote", model_digest="m")
    return found


@contextmanager
def unguarded(db: Database, *statements: str) -> Iterator[None]:
    """What the owner of the database may do without scruples; it is undone afterwards."""
    with db.session() as session:
        edited = session.begin_nested()
        session.execute(text("ALTER TABLE ledger DISABLE TRIGGER USER"))
        for statement in statements:
            session.execute(text(statement))
        yield
        edited.rollback()


def test_two_processes_of_two_machines_do_not_fork_the_chain(settings: Settings, tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPENDING]
    started = [
        subprocess.Popen([*command, tmp_path / who, settings.database_url, who], stderr=subprocess.PIPE)
        for who in ("a", "b")
    ]
    assert [each.communicate()[1].decode() for each in started] == ["", ""]
    entries = Ledger(Database(settings)).entries("p")
    assert faults(entries) == ()
    assert [each.seq for each in entries] == list(range(1, 51))
    for who in ("a", "b"):
        assert [each.version for each in entries if each.who == who] == [str(number) for number in range(25)]


@pytest.mark.parametrize("statement", ["UPDATE ledger SET why = 'x'", "DELETE FROM ledger"])
def test_the_database_itself_lets_no_entry_be_changed(db: Database, ledger: Ledger, statement: str) -> None:
    with pytest.raises(FullcircleError, match="the ledger is append-only"), db.session() as session:
        session.execute(text(statement))
    assert len(ledger.entries("p")) == 3


def test_an_edit_of_any_column_is_found(db: Database, ledger: Ledger) -> None:
    assert faults(ledger.entries("p")) == ()
    values = {
        "seq": "9",
        "at": "at + interval '1 microsecond'",
        "recorded": "recorded - interval '1 day'",
        "data_until": "at - interval '1 day'",
        "aliases": """'{"champion": "7", "challenger": null, "previous": null}'""",
        "format": "0",
        "action": "'rollback'",
        "identity": """'{"user": "other"}'""",
    }
    for field in dataclasses.fields(Entry):
        value = values.get(field.name, "'other'")
        with unguarded(db, f"UPDATE ledger SET {field.name} = {value} WHERE seq = 2"):
            found = {fault.entry for fault in faults(ledger.entries("p"))}
            assert {2, 3, 9} & found, f"an edited {field.name} went unseen"
    assert faults(ledger.entries("p")) == ()


def test_a_removed_entry_and_reordered_ones_are_found(db: Database, ledger: Ledger) -> None:
    with unguarded(db, "DELETE FROM ledger WHERE seq = 2"):
        assert [str(fault) for fault in faults(ledger.entries("p"))] == ["entry 3: entry 2 is missing before it"]
    swap = [f"UPDATE ledger SET seq = {new} WHERE seq = {old}" for old, new in ((1, 9), (2, 1), (9, 2))]
    with unguarded(db, *swap):
        found = {fault.entry: fault.what for fault in faults(ledger.entries("p"))}
        assert found[1] == "it was written as entry 2: the entries were reordered"
        assert found[2] == "it was written as entry 1: the entries were reordered"


@pytest.mark.parametrize("edit", ["action = 'x'", "aliases = '[1]'", """aliases = '"x"'"""])
def test_an_edit_that_cannot_even_be_read_names_the_entry(db: Database, ledger: Ledger, edit: str) -> None:
    said = pytest.raises(FullcircleError, match="entry 2 of the ledger of p was edited: it cannot be read")
    with unguarded(db, f"UPDATE ledger SET {edit} WHERE seq = 2"), said:
        ledger.entries("p")


def test_an_entry_and_the_end_of_its_release_are_written_together_or_not_at_all(db: Database) -> None:
    releases, ledger = Releases(db), Ledger(db)
    number = releases.begin(change("1"))

    def cut_short() -> None:
        with db.session():
            assert releases.complete(number)
            ledger.append(change("1"), aliases=Aliases(champion="1"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        cut_short()
    assert (len(releases.pending("p")), ledger.entries("p")) == (1, [])
    assert (releases.complete(number), releases.complete(number)) == (True, False)
