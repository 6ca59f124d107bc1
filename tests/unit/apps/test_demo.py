"""Starting over, and starting where nothing can start."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from fullcircle.apps.replay.demo import OURS, clear_home, run_demo, run_replay
from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def test_starting_over_forgets_what_was_run_and_keeps_the_data_and_what_is_not_ours(settings: Settings) -> None:
    for name in OURS:
        if "." in name:
            settings.folder()
            (settings.home / name).write_text("x")
        else:
            (settings.folder(name) / "inside").write_text("x")
    for kept in ("data/flights/2013-01.parquet", "notes.txt"):
        (settings.home / kept).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / kept).write_text("x")
    clear_home(settings)
    left = {path.relative_to(settings.home).as_posix() for path in settings.home.rglob("*") if path.is_file()}
    assert {"data/flights/2013-01.parquet", "notes.txt"} <= left
    assert not [name for name in left if name.split("/")[0] in OURS and not name.startswith("prefect/")]


def test_a_folder_that_is_no_checkout_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no dvc\.yaml in"):
        run_demo(settings, tmp_path)


def test_a_second_replay_in_the_same_home_is_refused_with_the_first_ones_process(
    settings: Settings, tmp_path: Path
) -> None:
    from fullcircle.scaffold.new_project import create

    create("tickets", tmp_path)
    with (settings.folder() / "replay.lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        with pytest.raises(FullcircleError, match=r"another replay \(process 4711\)"):
            run_replay("tickets", settings, tmp_path, sample=1.0)


def test_a_replay_with_nothing_to_learn_from_is_refused_before_any_server_starts(
    settings: Settings, tmp_path: Path
) -> None:
    from fullcircle.scaffold.new_project import create

    create("tickets", tmp_path)
    with pytest.raises(UsageError, match="tickets has nothing to learn from before 1999-01: its first partition is 20"):
        run_replay("tickets", settings, tmp_path, start="1999-01", sample=1.0)
    assert not settings.folder("prefect").joinpath("prefect.db").exists()
    assert not (settings.home / "logs" / "prefect.log").exists()
