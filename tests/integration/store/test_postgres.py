"""PostgreSQL beneath the platform's tables: its schema, its connections, its encodings, and a study that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from fullcircle.apps.tuning.study import Study
from fullcircle.core.errors import FullcircleError
from fullcircle.core.project.search_space import Uniform
from fullcircle.core.records.health import Keep
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.engine import turn
from fullcircle.store.schema import metadata
from fullcircle.store.windows import Windows

APRIL = datetime(2013, 4, 1, tzinfo=UTC)


def test_the_migrations_make_exactly_the_tables_of_the_schema(settings: Settings, db: Database) -> None:
    with db.session():
        pass
    engine = create_engine(settings.database_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_what_was_written_is_there_at_the_next_start(settings: Settings, db: Database) -> None:
    Windows(db).record("p", "2013-04", at=APRIL, row={"rows": 1})
    db.close()
    again = Database(settings)
    assert Windows(again).all("p") == [{"rows": 1}]
    again.close()


def test_a_newer_schema_is_refused_and_left_as_it_is(settings: Settings, db: Database) -> None:
    Windows(db).record("p", "2013-04", at=APRIL, row={"rows": 1})
    with db.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FullcircleError, match=r"has schema 9999, this fullcircle knows up to \d+; it was") as refusal:
        Windows(Database(settings)).all("p")
    assert "hidden-word" not in str(refusal.value)
    with db.session() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    assert Windows(db).all("p") == [{"rows": 1}]


def test_connections_that_the_server_closed_are_opened_again(db: Database) -> None:
    windows = Windows(db)
    windows.record("p", "2013-04", at=APRIL, row={})
    with pytest.raises(FullcircleError, match="terminating connection"), db.session() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert windows.all("p") == [{}]


def test_words_of_any_language_come_back_from_a_database_without_an_encoding(
    settings: Settings, new_database: Callable[..., str]
) -> None:
    words = "Verspätung über 15 Minuten — 遅延"
    ascii_only = new_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    db = Database(replace(settings, database_url=ascii_only))
    Decisions(db).record("p", "w", Keep(reason=words), at=APRIL, evidence={"said": words})
    (row,) = Decisions(db).all("p")
    assert (row.decision.reason, row.evidence, row.at) == (words, {"said": words}, APRIL)
    db.close()


def test_a_refused_password_and_a_missing_database_are_one_line_without_it(settings: Settings) -> None:
    right = make_url(settings.database_url)
    wrong = right.set(password="wrong-word")
    inside = right.set(password=None, query={"password": "wrong-word"})
    for url, said in (
        (wrong, "password authentication failed"),
        (inside, "password authentication failed"),
        (right.set(database="nosuch"), '"nosuch" does not exist'),
    ):
        address = url.render_as_string(hide_password=False)
        for ask in (
            lambda address: Windows(Database(replace(settings, database_url=address))).all("p"),
            lambda address: turn(address, variable="FULLCIRCLE_DATABASE_URL").__enter__(),
        ):
            with pytest.raises(FullcircleError, match=said) as refusal:
                ask(address)
            text_of_it = f"{refusal.value}"
            assert "FULLCIRCLE_DATABASE_URL says which one is used" in text_of_it
            assert [word for word in ("wrong-word", "hidden-word") if word in text_of_it] == []
            assert len(text_of_it.splitlines()) == 1


def test_a_study_goes_on_where_it_was(settings: Settings) -> None:
    def opened() -> Study:
        return Study(Database(settings), "p/torch", {"training.dropout": Uniform(0, 0.5)}, {"training.dropout": 0.1})

    first = opened()
    trial = first.ask()
    first.report(trial.number, 1, 0.6)
    first.close()
    second = opened()
    assert second.restart(1).parameters == trial.parameters == {"training.dropout": 0.1}
    assert second.done(1, 0.6).curve == (0.6,)
    second.close()
