"""The folder of a home: which one it is, and what becomes of a process whose home goes away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.errors import HomeUnwritable, UsageError
from fullcircle.core.settings import Settings


@pytest.mark.parametrize("odd", ["what?", "50%25", "100%", "a\nb", "a\x1bb", "a\u2028b", "a\udcffb"])
def test_a_path_that_a_tool_would_read_as_another_is_refused(tmp_path: Path, odd: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / odd / "home")})


def test_it_is_refused_in_one_line_before_anything_is_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", "impact", "flights/1"],
        env={"FULLCIRCLE_HOME": str(tmp_path / "what?" / "home"), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("UsageError: FULLCIRCLE_HOME=")
    assert len(done.stderr.splitlines()) == 2  # what and why, and what to do
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_the_folder_and_not_the_link_that_led_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({"FULLCIRCLE_HOME": "link/../link"})
    assert settings.home == real
    assert settings.tracking_uri == f"sqlite:///{real}/mlflow.db"
    assert Settings.from_env({}).home == tmp_path / ".fullcircle"


def test_links_in_a_circle_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UsageError, match="leads nowhere"):
        Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "a")})


def test_a_home_that_was_moved_away_is_not_made_a_second_time_at_its_old_place(tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    settings.folder("spool")
    settings.home.rename(tmp_path / "moved")
    with pytest.raises(HomeUnwritable, match="was moved or removed"):
        settings.folder("spool", "x")
    with pytest.raises(HomeUnwritable, match="was moved or removed"):
        settings.check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    (tmp_path / "home").mkdir()  # another one in its place is not it, either
    with pytest.raises(HomeUnwritable, match="was moved or removed"):
        settings.folder("spool", "x")
    assert Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "moved")}).folder("spool").is_dir()
