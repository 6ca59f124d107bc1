"""Several programs that start on a new database at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.windows import Windows

OURS = """
import sys
from datetime import UTC, datetime
import alembic.command, alembic.config, psycopg, sqlalchemy.orm
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.windows import Windows

windows = Windows(Database(Settings.from_env({"FULLCIRCLE_HOME": sys.argv[1], "FULLCIRCLE_DATABASE_URL": sys.argv[2]})))
print("ready", flush=True)
sys.stdin.readline()
windows.record("p", sys.argv[3], at=datetime.now(UTC), row={})
"""

MLFLOWS = """
import sys
import mlflow, mlflow.store.tracking.sqlalchemy_store, psycopg
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import connect

settings = Settings.from_env({"FULLCIRCLE_HOME": sys.argv[1], "MLFLOW_TRACKING_URI": sys.argv[2]})
print("ready", flush=True)
sys.stdin.readline()
connect(settings)
"""


def started_at_once(program: str, homes: list[Path], address: str) -> list[str]:
    """What the programs complain of, one a home: all import what they need, and then all are told to begin."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", program]
    programs = [
        subprocess.Popen([*command, str(home), address, f"w{number}"], **pipes) for number, home in enumerate(homes)
    ]
    try:
        assert [each.stdout.readline() for each in programs] == ["ready\n"] * len(homes)
        for each in programs:
            each.stdin.write("\n")
            each.stdin.flush()
        return [each.communicate(timeout=120)[1] for each in programs]
    finally:
        for each in programs:
            each.kill()


@pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)
def test_three_processes_may_start_at_once_on_a_new_home(settings: Settings) -> None:
    assert started_at_once(OURS, [settings.home] * 3, settings.database_url) == [""] * 3
    assert len(Windows(Database(settings)).all("p")) == 3


def test_three_machines_may_start_at_once_on_an_empty_postgres(settings: Settings, tmp_path: Path) -> None:
    homes = [tmp_path / f"machine-{number}" for number in range(3)]  # so no lock file is between them
    assert started_at_once(OURS, homes, settings.database_url) == [""] * 3
    assert len(Windows(Database(settings)).all("p")) == 3


def test_two_machines_may_let_mlflow_make_its_tables_at_once(settings: Settings, tmp_path: Path) -> None:
    said = started_at_once(MLFLOWS, [tmp_path / "one", tmp_path / "two"], settings.database_url)
    assert [each for each in said if "Traceback" in each] == []
