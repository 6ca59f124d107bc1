"""Marks of replays, and what the migration makes of homes in which a replay was known by its releases alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

import fullcircle.store.database
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.releases import Releases
from fullcircle.store.replay_clock import Replays

COLUMNS = "project, version, previous, at, decided_by, reason, state, why, begun, ended, action"
LATER = "'r', 'complete', '', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 'promote'"
RELEASES = (
    f"INSERT INTO releases ({COLUMNS}) VALUES "
    f"('lived', '1', NULL, '2013-04-01 00:00:00', 'replay', {LATER}), "
    f"('lived', '2', '1', '2013-06-01 00:00:00', 'replay', {LATER}), "
    f"('real', '1', NULL, '2025-06-01 00:00:00', 'ada', {LATER})"
)
WINDOWS = "INSERT INTO windows (project, \"window\", at, row) VALUES ('lived', '2013-07', '2013-08-01 00:00:00', '{}')"


def test_a_replay_of_before_there_were_marks_is_marked_with_its_newest_month(settings: Settings) -> None:
    settings.folder()
    engine = create_engine(settings.database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(fullcircle.store.database.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(text(RELEASES))
        connection.execute(text(WINDOWS))
    engine.dispose()
    db = Database(settings)
    clocks = [Replays(db).clock(project) for project in ("lived", "real", "none")]
    assert clocks == [datetime(2013, 8, 1, tzinfo=UTC), None, None]
    dated = {row.release.version: row.release.data_until for row in Releases(db).history("lived")}
    assert dated == {"1": datetime(2013, 4, 1, tzinfo=UTC), "2": datetime(2013, 6, 1, tzinfo=UTC)}
    assert [row.release.data_until for row in Releases(db).history("real")] == [None]
    db.close()


def test_a_clock_never_goes_back(db: Database) -> None:
    replays = Replays(db)
    for month in (5, 7, 6):
        replays.reach("p", datetime(2013, month, 1, tzinfo=UTC))
    assert (replays.clock("p"), replays.clock("q")) == (datetime(2013, 7, 1, tzinfo=UTC), None)
