"""Several programs that start on a new home at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.windows import Windows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def test_three_processes_may_start_at_once_on_a_new_home(settings: Settings) -> None:
    program = (
        "import sys; from datetime import datetime, UTC; from fullcircle.core.settings import Settings;"
        "from fullcircle.store.database import Database; from fullcircle.store.windows import Windows;"
        "db = Database(Settings.from_env({'FULLCIRCLE_HOME': sys.argv[1]}));"
        "Windows(db).record('p', sys.argv[2], at=datetime.now(UTC), row={})"
    )
    command = [sys.executable, "-c", program, str(settings.home)]
    started = [subprocess.Popen([*command, f"w{number}"], stderr=subprocess.PIPE) for number in range(3)]
    assert [each.communicate()[1].decode() for each in started] == [""] * 3
    assert len(Windows(Database(settings)).all("p")) == 3
