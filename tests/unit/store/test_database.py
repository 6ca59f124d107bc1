"""The database: migrated once, by whoever comes first, and never by code that is older than it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import fullcircle.store
from fullcircle.core.errors import DatabaseAway, FullcircleError, HomeUnwritable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import Patience, patient
from fullcircle.store.database import Database
from fullcircle.store.file_locks import exclusive
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import REVISIONS, metadata
from fullcircle.store.windows import Windows

AT = datetime(2013, 4, 1, tzinfo=UTC)


def test_nothing_is_opened_before_the_first_session(settings: Settings) -> None:
    Database(settings)
    assert not settings.home.exists()


def test_the_migrations_make_exactly_the_tables_of_the_schema(settings: Settings, db: Database) -> None:
    with db.session():
        pass
    with create_engine(settings.database_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_schema_lists_every_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(fullcircle.store.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(each.revision for each in reversed(list(scripts.walk_revisions()))) == REVISIONS


def test_a_newer_schema_is_refused_and_left_as_it_is(settings: Settings, db: Database) -> None:
    Windows(db).record("p", "2013-04", at=AT, row={"rows": 1})
    db.close()
    file = settings.home / "fullcircle.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        before = list(connection.iterdump())
    with pytest.raises(FullcircleError, match=r"has schema 9999, this fullcircle knows up to \d+; it was written by"):
        Windows(Database(settings)).all("p")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert list(connection.iterdump()) == before


def test_a_session_within_a_session_shares_its_fate(db: Database) -> None:
    windows = Windows(db)

    def record_and_fail() -> None:
        with db.session():
            windows.record("p", "2013-04", at=AT, row={})
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        record_and_fail()
    assert windows.all("p") == []


def test_the_connection_is_durable_and_checks_foreign_keys(db: Database) -> None:
    with db.session() as session:
        answers = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("foreign_keys", "synchronous")}
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    assert answers == {"foreign_keys": 1, "synchronous": 2}


def test_a_database_that_cannot_be_had_is_one_line_without_its_password(tmp_path: Path) -> None:
    home = {"FULLCIRCLE_HOME": str(tmp_path)}
    blocked = tmp_path / "folder.db"
    blocked.mkdir()
    broken = Database(Settings.from_env(home | {"FULLCIRCLE_DATABASE_URL": f"sqlite:///{blocked}"}))
    with pytest.raises(HomeUnwritable, match="unable to open database file"):
        Windows(broken).all("p")
    unknown = Database(Settings.from_env(home | {"FULLCIRCLE_DATABASE_URL": "nosuch://user:secret@host/db"}))
    with pytest.raises(UsageError, match="FULLCIRCLE_DATABASE_URL cannot be used") as refusal:
        Windows(unknown).all("p")
    assert "secret" not in str(refusal.value)


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    db = Database(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "file" / "home")}))
    with pytest.raises(HomeUnwritable, match="Not a directory"):
        Windows(db).all("p")
    with pytest.raises(HomeUnwritable, match="Not a directory"), exclusive(tmp_path / "file" / "locks" / "one.lock"):
        pass


def test_windows_are_kept_in_order_and_replaced(db: Database) -> None:
    windows = Windows(db)
    windows.record("p", "2013-05", at=AT, row={"auc": 0.6, "missing": float("nan"), "at": AT})
    windows.record("p", "2013-04", at=AT, row={"auc": 0.7})
    windows.record("p", "2013-04", at=AT, row={"auc": 0.8})
    windows.record("q", "2013-04", at=AT, row={})
    assert windows.all("p") == [{"auc": 0.8}, {"auc": 0.6, "missing": None, "at": "2013-04-01T00:00:00+00:00"}]
    assert windows.get("p", "2013-04") == {"auc": 0.8}
    assert windows.get("p", "2014-01") is None
    windows.clear("p")
    assert (windows.all("p"), len(windows.all("q"))) == ([], 1)


def test_numpy_becomes_plain() -> None:
    import numpy as np

    assert to_plain({"a": np.float32(0.5), 2: np.arange(2), "s": {"x"}}) == {"a": 0.5, "2": [0, 1], "s": ["x"]}


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Another program holds the file until the block's end, or until it rolls back."""
    connection = sqlite3.connect(settings.home / "fullcircle.db", isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


def test_a_database_that_somebody_holds_is_waited_for_by_the_patient_and_nothing_is_lost(
    settings: Settings, db: Database
) -> None:
    Windows(db).record("p", "2013-04", at=AT, row={"rows": 1})
    said: list[str] = []
    with locked(settings) as holder:

        def hear(text: str) -> None:
            said.append(text)
            if holder.in_transaction:
                holder.rollback()

        with patient(Patience(limit_s=600, say=hear, kept=str(settings.home), setting="FULLCIRCLE_WAIT")):
            Windows(db).record("p", "2013-05", at=AT, row={"rows": 2})
            Windows(Database(settings)).record("p", "2013-06", at=AT, row={"rows": 3})
    away, back = said
    assert away.startswith(f"the database sqlite:///{settings.home}/fullcircle.db is away since")
    assert "(another program holds it locked); everything is safe in" in away
    assert back.startswith("it answers again")
    assert [row["rows"] for row in Windows(db).all("p")] == [1, 2, 3]


def test_a_database_that_is_never_let_go_of_is_said_in_one_line(settings: Settings, db: Database) -> None:
    Windows(db).record("p", "2013-04", at=AT, row={"rows": 1})
    never = Patience(limit_s=0.1, say=lambda _: None, kept=str(settings.home), setting="FULLCIRCLE_WAIT")
    with locked(settings), patient(never), pytest.raises(DatabaseAway) as held:
        Windows(db).record("p", "2013-05", at=AT, row={"rows": 2})
    assert "another program holds it locked" in held.value.what
    assert "\n" not in str(held.value)
    assert [row["rows"] for row in Windows(db).all("p")] == [1]
