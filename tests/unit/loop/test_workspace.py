"""A workspace makes each tool once, when it is asked for, and never shares connections with another process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace
from fullcircle.store.database import Database
from fullcircle.store.windows import Windows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def test_each_tool_is_made_once_however_many_threads_ask_for_it(settings: Settings) -> None:
    workspace, together = Workspace(settings), threading.Barrier(8)

    def ask(_: int) -> tuple[int, ...]:
        together.wait()
        return tuple(map(id, (workspace.run_store, workspace.registry, workspace.database, workspace.data_versions)))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_nothing_is_opened_or_imported_before_a_tool_is_used(settings: Settings) -> None:
    with Workspace(settings) as workspace:
        assert workspace.database
    assert not settings.home.exists()
    program = "import sys, fullcircle.loop.workspace; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"mlflow", "sqlalchemy", "dvc", "pandas"}.isdisjoint(loaded)


def test_closed_it_can_be_closed_again_and_used_again(settings: Settings) -> None:
    with Workspace(settings) as workspace:
        first = workspace.database
        assert Windows(first).all("p") == []
    workspace.close()
    assert workspace.database is not first
    assert Windows(workspace.database).all("p") == []
    workspace.close()


def test_pickled_it_names_the_same_home_and_brings_no_connection(settings: Settings) -> None:
    workspace = Workspace(settings)
    with workspace.database.session():
        copy = pickle.loads(pickle.dumps(workspace))
    assert copy.settings == settings
    assert copy.database is not workspace.database


def used(workspace: Workspace, answer: Connection, parents: Database) -> None:
    """In a fork of the process whose database that is: another one than the parent's, and it works."""
    answer.send((workspace.database is not parents, Windows(workspace.database).all("p")))
    os._exit(0)  # without what the tests before it left to be done at the parent's end


def test_a_fork_opens_its_own_connections_even_while_the_parent_holds_the_guard(settings: Settings) -> None:
    workspace = Workspace(settings)
    assert Windows(workspace.database).all("p") == []
    ours, theirs = multiprocessing.Pipe()
    with workspace._guard:
        child = multiprocessing.get_context("fork").Process(target=used, args=(workspace, theirs, workspace.database))
        child.start()
    assert ours.poll(60)
    assert ours.recv() == (True, [])
    child.join()
    assert child.exitcode == 0
    assert Windows(workspace.database).all("p") == []
