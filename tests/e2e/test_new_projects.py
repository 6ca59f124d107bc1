"""`fullcircle new NAME --task KIND`, then `run`, as people type them: every kind of project is released and shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.scaffold.kinds import KINDS

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(600)]


def fullcircle(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", *words],
        cwd=folder,
        env={**os.environ, "FULLCIRCLE_HOME": str(folder / "home"), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_of_each_kind_is_made_and_released_by_two_commands(kind: str, tmp_path: Path) -> None:
    made = fullcircle(tmp_path, "new", "first", "--task", kind)
    assert made.returncode == 0, made.stderr
    done = fullcircle(tmp_path, "run", "first")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

    status = json.loads(fullcircle(tmp_path, "status", "first", "--json").stdout)
    assert status["aliases"]["champion"]["version"] == "1"
    overview = fullcircle(tmp_path, "status", "first")
    assert overview.returncode == 0 and "champion" in overview.stdout
    assert fullcircle(tmp_path, "ledger", "verify", "first").returncode == 0


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    refused = fullcircle(tmp_path, "new", "first", "--task", "ranking")
    assert refused.returncode == 2
    assert all(kind in refused.stderr for kind in KINDS)
    assert not (tmp_path / "first").exists()
