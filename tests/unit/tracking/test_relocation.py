"""What MLflow's tables and the spool of a moved home say of its former places, of which an old home has no record."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import address, settled, translated
from fullcircle.tracking.connection.relocation import moved_from
from fullcircle.tracking.spool.spool_dir import SpoolDir, SpoolMetadata

TABLES = """
    CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT);
    CREATE TABLE experiment_tags (experiment_id INTEGER, key TEXT, value TEXT);
    CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT);
    CREATE TABLE logged_models (artifact_location TEXT);
    CREATE TABLE datasets (dataset_source TEXT);
    INSERT INTO experiment_tags VALUES (1, 'fullcircle.project', 'flights'), (3, 'fullcircle.project', 'bikes');
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of before homes knew where they lie: made at /first, copied to /second and used there, and moved."""
    made = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    with closing(sqlite3.connect(made.folder() / "mlflow.db")) as connection:
        connection.executescript(TABLES)
        experiments = [
            (0, "Default", "file:///first/mlartifacts/0"),
            (1, "flights", "file:///first/mlartifacts/flights"),
            (2, "theirs", "file:///share/mlartifacts/theirs"),
            (3, "bikes", "file:///second/mlartifacts/bikes"),
        ]
        connection.executemany("INSERT INTO experiments VALUES (?, ?, ?)", experiments)
        uris = [(f"r{id_}", f"{place}/r/artifacts") for id_, _, place in experiments]
        connection.executemany("INSERT INTO runs VALUES (?, ?)", uris)
        connection.execute("INSERT INTO datasets VALUES (?)", [json.dumps({"uri": "/first/dvc-remote"})])
        connection.commit()
    return made


def test_an_old_home_is_known_by_where_the_platforms_own_experiments_lie(settings: Settings) -> None:
    settled(settings)
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as connection:
        places = [place for (place,) in connection.execute("SELECT artifact_location FROM experiments")]
        uris = [uri for (uri,) in connection.execute("SELECT artifact_uri FROM runs")]
        (source,) = connection.execute("SELECT dataset_source FROM datasets").fetchone()
    here = (settings.home / "mlartifacts").as_uri()
    # Who made an experiment of his own somewhere else finds it there.
    assert places == [f"{here}/0", f"{here}/flights", "file:///share/mlartifacts/theirs", f"{here}/bikes"]
    assert uris == [f"{place}/r/artifacts" for place in places]
    assert json.loads(source) == {"uri": str(settings.home / "dvc-remote")}


def test_what_waits_in_the_spool_of_a_moved_home_is_of_the_tracker_that_moved_along(
    settings: Settings, tmp_path: Path
) -> None:
    settled(settings)
    trackers = {"own": address(settings), "served": "http://127.0.0.1:5000", "other": "sqlite:////first/other.db"}
    for name, tracker in trackers.items():
        about = SpoolMetadata(tracker=tracker, run_id=None, key=name, begin=None, made_ms=0)
        SpoolDir(settings.folder("spool", name)).save(about)
    settings.home.rename(tmp_path / "moved")
    moved = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "moved")})
    settled(moved)
    found = {name: SpoolDir(moved.home / "spool" / name).metadata().tracker for name in trackers}
    assert found == {**trackers, "own": address(moved)}


def test_a_moved_home_whose_tracking_store_is_elsewhere_is_told_until_it_is_back(tmp_path: Path) -> None:
    def told(home: str) -> Path | None:
        elsewhere = {"FULLCIRCLE_HOME": str(tmp_path / home), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/shared.db"}
        settled(Settings.from_env(elsewhere))
        return moved_from(Settings.from_env(elsewhere))

    (tmp_path / "home").mkdir()
    assert told("home") is told("home") is None
    (tmp_path / "home").rename(tmp_path / "moved")
    assert told("moved") == told("moved") == tmp_path / "home"
    (tmp_path / "moved").rename(tmp_path / "home")
    assert told("home") is None


def test_mlflow_makes_no_second_store_where_the_home_lay(settings: Settings, tmp_path: Path) -> None:
    settings.home.rename(tmp_path / "moved")
    with pytest.raises(HomeUnwritable, match="was moved or removed"), translated(settings, "listing"):
        pytest.fail("MLflow was asked")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
