"""The store of a home is made once, whoever comes first, and whatever became of whoever came before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def test_two_processes_may_make_the_store_at_once_and_a_killed_maker_is_in_nobodys_way(settings: Settings) -> None:
    program = (
        "import sys; from fullcircle.core.settings import Settings;"
        "from fullcircle.tracking.runs.run_store import RunStore;"
        "RunStore(Settings.from_env({'FULLCIRCLE_HOME': sys.argv[1]})).prepare()"
    )
    # What a kill in the middle of the first migration leaves: a file that is no database yet.
    (settings.folder() / "mlflow.db.new").write_bytes(b"half a database")
    command = [sys.executable, "-c", program, str(settings.home)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=settings.home) for _ in range(2)]
    assert [(each.communicate()[1].decode(), each.returncode) for each in started] == [("", 0)] * 2
    made = sorted(path.name for path in settings.home.iterdir())
    assert made == [".gitignore", ".private", "home.json", "locks", "mlflow.db"]
