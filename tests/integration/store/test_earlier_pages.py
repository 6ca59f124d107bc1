"""Pages that an earlier version queued, in SQLite and in PostgreSQL, are completed when this one opens the database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

import fullcircle.store
from fullcircle.alerting.page import Page
from fullcircle.core.records.incidents import Severity
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents

MAY, JUNE = datetime(2013, 5, 1, 12, 30, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC)
EARLIER = "0006"


@pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)
def test_a_page_that_waited_for_an_earlier_version_says_what_it_is_about(settings: Settings) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(fullcircle.store.__file__).parent / "migrations"))
    settings.folder()
    engine = create_engine(settings.database_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, EARLIER)
        naive = settings.database_url.startswith("sqlite")
        shown = [f"{each:%Y-%m-%d %H:%M:%S.000000}{'' if naive else '+00'}" for each in (MAY, JUNE)]
        evidence, links = json.dumps({"drifted columns": "7 of 20"}), json.dumps({"run": "http://mlflow.example/1"})
        connection.execute(
            text(
                "INSERT INTO incidents VALUES (1, 'p:drift', 'p', 'drift', 'warning', 't', :may, :may, '[]',"
                " :evidence, :links, :june)"
            ),
            {"may": shown[0], "june": shown[1], "evidence": evidence, "links": links},
        )
        page = json.dumps({"title": "t", "body": "b", "severity": "info"})
        for number, kind in ((1, "open"), (2, "resolved")):
            connection.execute(
                text("INSERT INTO outbox VALUES (:n, 1, 'json-1', :kind, :page, :june, 3, 'refused', NULL)"),
                {"n": number, "kind": kind, "page": page, "june": shown[1]},
            )
    engine.dispose()

    db = Database(settings)
    opened, resolved = (Page.stored(row.page) for row in Incidents(db).undelivered("p"))
    db.close()
    assert opened == Page(
        title="t",
        body="b",
        severity=Severity.WARNING,
        key="p:drift",
        kind="open",
        project="p",
        cause="drift",
        starts=MAY,
        seen=MAY,
        links={"run": "http://mlflow.example/1"},
        details={"drifted columns": "7 of 20"},
    )
    assert (resolved.kind, resolved.ends, resolved.key) == ("resolved", JUNE, "p:drift")
