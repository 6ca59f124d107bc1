"""A home is its user's alone, whatever the umask, and however it came to be."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullcircle.core.security.permissions import MARK, OTHERS
from fullcircle.core.settings import Settings

PROGRAM = """
import os, sqlite3, subprocess, sys
os.umask(int(sys.argv[2], 8))
from fullcircle.core.settings import Settings
settings = Settings.from_env({"FULLCIRCLE_HOME": sys.argv[1]})
(settings.folder("logs", "deep") / "a.log").write_text("rows")
base = sqlite3.connect(settings.home / "some.db")
base.execute("PRAGMA journal_mode=WAL")
base.execute("CREATE TABLE t (x)")
subprocess.run([sys.executable, "-c", "open('child.txt', 'w').write('x')"], cwd=settings.home, check=True)
print(*sorted(name for name in os.listdir(settings.home)))
"""


def open_to_others(folder: Path) -> set[str]:
    every = (folder, *folder.rglob("*"))
    return {str(each.relative_to(folder)) for each in every if each.lstat().st_mode & OTHERS and not each.is_symlink()}


def home_of(folder: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(folder)})


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Path]:
    """A home as an earlier version made it, under the umask of most systems."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "mlflow.db").write_text("rows")
    (home / "logs" / "a.log").write_text("rows")
    (home / "logs" / "run.sh").write_text("true")
    (home / "logs" / "run.sh").chmod(0o755)
    (home / "logs" / "a.log").chmod(0o644)
    (home / "mlflow.db").chmod(0o664)
    (home / "logs").chmod(0o755)
    home.chmod(0o755)
    yield home
    home.chmod(0o700)


@pytest.mark.parametrize("umask", ["000", "022", "007"])
def test_a_home_is_private_whatever_the_umask_and_so_is_what_other_programs_write_into_it(
    tmp_path: Path, umask: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a" / "home"), umask]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    made = {".gitignore", MARK, "child.txt", "logs", "some.db", "some.db-shm", "some.db-wal"}
    assert set(done.stdout.split()) == made
    assert open_to_others(tmp_path / "a" / "home") == set()


def test_an_existing_home_is_tightened_once_and_says_so(earlier: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fullcircle"):
        home_of(earlier).folder("logs")
        home_of(earlier).folder("logs")
    what = f"fullcircle: tightened 5 files and folders of {earlier} that others could read; a home is its user's alone"
    assert [each.getMessage() for each in caplog.records] == [what]
    assert open_to_others(earlier) == set()
    assert stat.S_IMODE((earlier / "logs" / "run.sh").stat().st_mode) == 0o700, "what could be run still can"


def test_a_home_that_is_private_is_not_walked_through_again(earlier: Path) -> None:
    home_of(earlier).folder()
    (earlier / "logs" / "a.log").chmod(0o644)
    home_of(earlier).folder()
    assert open_to_others(earlier) == {"logs/a.log"}
    earlier.chmod(0o755)
    home_of(earlier).folder()
    assert open_to_others(earlier) == set(), "unless somebody opened it"


def test_a_home_whose_tightening_was_cut_short_is_tightened_by_the_next_command(earlier: Path) -> None:
    earlier.chmod(0o700)  # what is done first
    home_of(earlier).folder()
    assert open_to_others(earlier) == set()


def test_nothing_outside_of_the_home_is_touched(earlier: Path, tmp_path: Path) -> None:
    outside = tmp_path / "theirs"
    outside.mkdir(mode=0o755)
    outside.chmod(0o755)
    for name in ("rows.parquet", "linked.parquet"):
        (outside / name).write_text("rows")
        (outside / name).chmod(0o644)
    (earlier / "link").symlink_to(outside)
    (earlier / "rows").symlink_to(outside / "rows.parquet")
    os.link(outside / "linked.parquet", earlier / "hard")
    home_of(earlier).folder()
    assert [stat.S_IMODE(each.stat().st_mode) for each in sorted(outside.iterdir())] == [0o644, 0o644]
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert open_to_others(earlier) == {"hard"}


def test_a_home_behind_a_link_is_private_too(earlier: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(earlier)
    home_of(tmp_path / "link").folder()
    assert open_to_others(earlier) == set()


def test_a_folder_of_the_users_that_becomes_a_home_is_closed_and_its_files_keep_their_modes(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    (tmp_path / "mine" / "notes.txt").chmod(0o644)
    (tmp_path / "mine").chmod(0o755)
    for _ in range(2):
        home_of(tmp_path / "mine").folder("logs")
    assert open_to_others(tmp_path / "mine") == {"notes.txt"}
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700


def test_everybodys_folder_is_left_as_it_is_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    with caplog.at_level(logging.WARNING, "fullcircle"):
        home_of(tmp_path / "tmp").folder("logs")
    assert "is everybody's folder and cannot be made private" in caplog.text
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs to become another user")
def test_a_home_whose_modes_cannot_be_set_is_used_and_that_is_said() -> None:
    code = "import sys; from fullcircle.core.settings import Settings; print(Settings.from_env().folder('logs'))"
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to that user
        for each in (Path(folder), home := Path(folder) / "home"):
            each.mkdir(exist_ok=True)
            each.chmod(0o777)
        env = {**os.environ, "FULLCIRCLE_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
        other += [sys.executable, "-c", code]
        done = subprocess.run(other, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(home / "logs"), done.stderr
    assert "can be read by others and cannot be made private: it belongs to another user" in done.stderr


def test_what_is_made_for_the_user_has_the_modes_of_the_users_umask(tmp_path: Path) -> None:
    code = f"""
import os, sys
os.umask(0o027)
from pathlib import Path
from fullcircle.core.security.permissions import as_the_user_makes_it
from fullcircle.core.settings import Settings
Settings.from_env({{"FULLCIRCLE_HOME": {str(tmp_path / "home")!r}}}).folder()
folder = Path({str(tmp_path / "restored")!r})
(folder / "part").mkdir(parents=True)
(folder / "part" / "rows").write_text("x")
as_the_user_makes_it(folder)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    modes = [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("restored", "restored/part")]
    assert modes == [0o750, 0o750]
    assert stat.S_IMODE((tmp_path / "restored" / "part" / "rows").stat().st_mode) == 0o640
