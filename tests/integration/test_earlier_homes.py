"""A home that an earlier version made is opened by this one, at another place than where it was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

FIRST_PREDICTION = "01a21eb3-22fc-74be-9888-5209708c2f06"


@pytest.fixture(scope="module")
def unpacked(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `home/` and `tickets/` of version 0.1.0."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(repository / "tests" / "fixtures" / "home-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


Ask = Callable[..., str]


@pytest.fixture
def ask(unpacked: Path) -> Ask:
    """What the command prints in that home, once it has ended with one of the expected exit codes."""

    def run(*words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fullcircle.cli", *words],
            cwd=unpacked,
            env={**os.environ, "FULLCIRCLE_HOME": str(unpacked / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


def test_its_ledger_is_whole_and_names_who_served_when(ask: Ask) -> None:
    ask("ledger", "verify", "tickets")
    assert json.loads(ask("who", "tickets", "--json"))["version"] == "2"
    assert json.loads(ask("who", "tickets", "--at", "2024-05-01", "--json"))["version"] == "1"


def test_its_entries_keep_the_hashes_that_they_were_written_with(ask: Ask) -> None:
    entries = json.loads(ask("ledger", "show", "tickets", "--json"))
    assert [entry["hash"][:8] for entry in entries] == ["b72aa43e", "edd62b3f"]


def test_its_incidents_are_still_open(ask: Ask) -> None:
    incidents = json.loads(ask("incidents", "tickets", "--json", codes=(1,)))  # 1: some are open
    assert sorted(incident["severity"] for incident in incidents) == ["critical", "warning"]


def test_a_prediction_of_it_is_traced_to_the_version_that_answered(ask: Ask) -> None:
    shown = " ".join(ask("trace", FIRST_PREDICTION, codes=(0, 1)).split())  # 1: its code is in no checkout here
    assert "tickets version 1" in shown
    assert "probability 0.4729, label 1" in shown


def test_it_is_private_once_it_was_opened(ask: Ask, unpacked: Path) -> None:
    (unpacked / "home").chmod(0o755)
    (unpacked / "home" / "mlflow.db").chmod(0o644)
    ask("ledger", "verify", "tickets")
    assert [str(each) for each in (unpacked / "home").rglob("*") if each.lstat().st_mode & 0o077] == []
