"""`make test ROOM=...` runs what its name says, and refuses a room that there is not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--dry-run", *words], cwd=repository, capture_output=True, text=True)


def chosen(repository: Path, *words: str) -> list[str]:
    """The folders that pytest would be given."""
    (line,) = re.findall(r"/pytest\b(.*)", make(repository, "test", *words).stdout)
    return re.findall(r"tests/\S+", line)


def test_a_rooms_tests_are_those_of_the_folders_of_its_name(repository: Path, package: Path) -> None:
    rooms = sorted(path.parent.name for path in package.glob("*/__init__.py"))
    kinds = ("unit", "contract", "integration")
    for room in rooms:
        there = [f"tests/{kind}/{room}" for kind in kinds if (repository / "tests" / kind / room).is_dir()]
        assert chosen(repository, f"ROOM={room}") == there


def test_every_contract_suite_lies_in_the_folder_of_a_room(repository: Path, package: Path) -> None:
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    suites = [
        path.relative_to(repository / "tests/contract") for path in (repository / "tests").glob("contract/**/*.py")
    ]
    assert suites
    assert {path.parts[0] for path in suites} <= rooms


def test_without_a_room_all_tests_run_after_the_checks(repository: Path) -> None:
    assert chosen(repository) == []
    assert "lint-imports" in make(repository, "test").stdout
    assert "lint-imports" not in make(repository, "test", "ROOM=serving").stdout


@pytest.mark.parametrize("room", ["servign", "", "%", "*", "../unit/serving", "serving nowhere", ". ; exit 0 #"])
def test_a_room_that_there_is_not_is_refused_in_one_line_that_names_those_that_there_are(
    repository: Path, room: str
) -> None:
    done = make(repository, "test", f"ROOM={room}")
    assert done.returncode == 2
    assert f"there is no room '{room}'; the rooms are" in done.stderr
    assert " serving " in done.stderr
    assert "pytest" not in done.stdout
    assert len(done.stderr.splitlines()) == 1
