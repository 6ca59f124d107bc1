"""What a moved home's databases say of its former place leads into the present one, and nothing else is changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fullcircle.core.errors import FullcircleError
from fullcircle.core.settings import Settings
from fullcircle.store.home_relocation import places, relocate, relocated, settle

NAMES = st.text(st.sampled_from("ab #'\"ü.[+"), min_size=1, max_size=6).filter(lambda name: name.strip(".") != "")
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    made.folder()
    return made


@examples(max_examples=25)
@given(PATHS, PATHS, NAMES)
def test_a_path_at_or_beneath_the_former_place_leads_into_the_present_one(old: Path, new: Path, name: str) -> None:
    for inside in (Path(), Path(name)):
        was, is_ = old / inside, new / inside
        if was.is_relative_to(new):  # it leads there already
            continue
        assert relocated(str(was), old, new) == str(is_)
        assert relocated(was.as_uri(), old, new) == is_.as_uri()
        assert json.loads(relocated(json.dumps({"uri": str(was)}), old, new)) == {"uri": str(is_)}


@examples(max_examples=25)
@given(PATHS, PATHS, st.one_of(PATHS.map(str), PATHS.map(Path.as_uri)))
def test_changing_it_twice_is_changing_it_once(old: Path, new: Path, text: str) -> None:
    once = relocated(text, old, new)
    if new.is_relative_to(old) or not old.is_relative_to(new):
        assert relocated(once, old, new) == once


@pytest.mark.parametrize(
    "text",
    [
        "/old/home2/mlartifacts/x",
        "/mnt/old/home/mlartifacts/x",
        "file:///mnt/old/home/x",
        "s3://bucket/old/home/x",
        "it was in /old/home",
        "",
    ],
)
def test_what_only_looks_like_the_former_place_stays(text: str) -> None:
    assert relocated(text, Path("/old/home"), Path("/new")) == text


def test_a_home_that_moved_to_its_own_subfolder_is_mended_once() -> None:
    old, new = Path("/old"), Path("/old/deeper")
    once = relocated("file:///old/mlartifacts/x", old, new)
    assert once == "file:///old/deeper/mlartifacts/x" == relocated(once, old, new)
    assert relocated("file:///old/deeper/mlartifacts/x", new, old) == "file:///old/mlartifacts/x"


def test_a_home_is_looked_at_once_a_place(settings: Settings) -> None:
    seen: list[Sequence[Path]] = []
    settle(settings, "a", seen.append)
    settle(settings, "a", seen.append)
    assert seen == [[]]
    moved = settings.home.rename(settings.home.with_name("moved"))
    settle(Settings.from_env({"FULLCIRCLE_HOME": str(moved)}), "a", seen.append)
    assert seen == [[], [settings.home]]
    assert places(moved, "a") == (moved, settings.home)
    settle(Settings.from_env({"FULLCIRCLE_HOME": str(moved)}), "b", seen.append)
    assert seen[2:] == [[]]  # each database is mended by whoever opens it
    assert places(moved, "a") == (moved, settings.home)


def test_several_that_open_a_moved_home_at_once_mend_it_once(settings: Settings) -> None:
    settle(settings, "a", lambda former: None)
    moved = str(settings.home.rename(settings.home.with_name("moved")))
    seen: list[Sequence[Path]] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: settle(Settings.from_env({"FULLCIRCLE_HOME": moved}), "a", seen.append), range(8)))
    assert seen == [[settings.home]]


def test_what_was_mended_and_not_recorded_is_mended_again(settings: Settings) -> None:
    def killed(former: Sequence[Path]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settle(settings, "a", killed)
    seen: list[Sequence[Path]] = []
    settle(settings, "a", seen.append)
    assert seen == [[]]


def test_a_record_of_a_newer_version_is_not_written_over(settings: Settings) -> None:
    text = json.dumps({"format": 2, "places": {"a": ["/elsewhere"]}})
    (settings.home / "home.json").write_text(text)
    with pytest.raises(FullcircleError, match="has format 2"):
        settle(settings, "a", lambda former: None)
    assert (settings.home / "home.json").read_text() == text


def test_a_database_is_changed_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (uri TEXT, name TEXT)")
        rows = [("file:///old/x", "/old/x"), ("s3://b/old", None), (None, "b"), ("file:///old/y", "c")]
        connection.executemany("INSERT INTO runs VALUES (?, ?)", rows)
        connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON runs WHEN old.name = 'c' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.commit()
    wanted = {"runs": ("uri", "gone"), "gone": ("uri",)}
    with pytest.raises(sqlite3.Error):
        relocate(file, wanted, [Path("/old")], Path("/new"))
    assert _rows(file) == rows
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TRIGGER no")
    assert relocate(file, wanted, [Path("/old")], Path("/new")) == 2
    assert _rows(file) == [("file:///new/x", "/old/x"), *rows[1:3], ("file:///new/y", "c")]
    assert relocate(file, wanted, [Path("/old")], Path("/new")) == 0


def _rows(file: Path) -> list[tuple[str | None, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT uri, name FROM runs").fetchall()
