"""Every command, in a home whose databases are damaged or locked, whose disk is full, or that cannot be written: a line
that says so and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from fullcircle.cli import fullcircle
from fullcircle.core.settings import Settings
from fullcircle.scaffold.new_project import create
from fullcircle.store.database import Database
from fullcircle.tracking.runs.run_store import RunStore

FILES = ("fullcircle.db", "mlflow.db")
SAID_FOR = {
    "file": "tickets/project.py",
    "project": "tickets",
    "name": "fresh",
    "run": "a" * 32,
    "version": "1",
    "number": "1",
    "span": "8h",
    "what": "a" * 32,
}
BESIDE = {("train",): ("--framework", "torch"), ("trace",): ("0" * 8,)}
SERVES = ("serve",)
"""Goes on without its databases, which is tested beside the server."""
READS = ("ui",)
"""Needs so little room that it comes up, and then serves until somebody ends it."""
ERROR = re.compile(r"^[A-Z]\w+: \S.*", re.MULTILINE)


def leaves(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below a group, by their words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*above, name))
        else:
            yield (*above, name), command


def words_of(path: tuple[str, ...], command: click.Command) -> list[str]:
    """A call of the command with all that it cannot do without."""
    words = [*path, *BESIDE.get(path, ())]
    for parameter in command.params:
        if parameter.required:
            assert parameter.name is not None
            known = SAID_FOR.get(parameter.name, "because")
            words += [known] if isinstance(parameter, click.Argument) else [parameter.opts[0], known]
    return words


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, and a home with both databases."""
    folder = tmp_path_factory.mktemp("whole")
    create("tickets", folder)
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "home")})
    with Database(settings).session():
        pass
    RunStore(settings).prepare()
    return folder


@contextlib.contextmanager
def damaged(homes: list[Path]) -> Iterator[None]:
    for home in homes:
        for name in FILES:
            (home / name).write_bytes(b"no database at all" * 1000)
            for journal in home.glob(f"{name}-*"):
                journal.unlink()
    yield


@contextlib.contextmanager
def cut_short(homes: list[Path]) -> Iterator[None]:
    for home in homes:
        for name in FILES:
            os.truncate(home / name, (home / name).stat().st_size // 3)
    yield


@contextlib.contextmanager
def locked(homes: list[Path]) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        for home in homes:
            for name in FILES:
                connection = held.enter_context(contextlib.closing(sqlite3.connect(home / name, isolation_level=None)))
                connection.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def a_file(homes: list[Path]) -> Iterator[None]:
    for home in homes:
        shutil.rmtree(home)
        home.write_text("no folder")
    yield


@contextlib.contextmanager
def as_they_are(homes: list[Path]) -> Iterator[None]:
    yield


Break = Callable[[list[Path]], contextlib.AbstractContextManager[None]]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("breaks", "largest_file"),
    [
        pytest.param(damaged, None, id="damaged"),
        pytest.param(cut_short, None, id="cut short", marks=pytest.mark.nightly),
        pytest.param(locked, None, id="locked", marks=pytest.mark.nightly),
        pytest.param(a_file, None, id="no folder", marks=pytest.mark.nightly),
        pytest.param(as_they_are, 0, id="full", marks=pytest.mark.nightly),
        pytest.param(as_they_are, 200_000, id="full after a while", marks=pytest.mark.nightly),
    ],
)
def test_every_command_says_in_one_line_what_is_wrong_with_its_home(
    breaks: Break, largest_file: int | None, whole: Path, tmp_path: Path
) -> None:
    commands = [
        (path, command)
        for path, command in leaves(fullcircle)
        if path != SERVES and not (largest_file and path == READS)
    ]
    jobs: list[dict[str, Any]] = []
    for path, command in commands:
        place = shutil.copytree(whole, tmp_path / "-".join(path))
        home = {"FULLCIRCLE_HOME": str(place / "home"), "FULLCIRCLE_WAIT": "0"}
        # No server is started for each of them: what is tried are our own files.
        env = home | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
        job = {"words": words_of(path, command), "cwd": str(place), "env": env, "largest_file": largest_file}
        jobs.append(job)
    with breaks([Path(job["env"]["FULLCIRCLE_HOME"]) for job in jobs]):
        program = [sys.executable, str(Path(__file__).with_name("forking.py"))]
        done = subprocess.run(program, input=json.dumps(jobs), stdout=subprocess.PIPE, text=True, check=True)
    ended = json.loads(done.stdout)
    assert len(ended) > 25, "all of them"
    for job in ended:
        called = " ".join(job["words"])
        assert "Traceback" not in job["said"], f"{called}: {job['said']}"
        assert job["code"] in (0, 1, 2), f"{called}: {job['code']} {job['said']}"
        if job["code"] and job["words"][:1] != ["demo"]:
            assert len(ERROR.findall(job["said"])) == 1, f"{called}: {job['said']}"
    codes = {" ".join(job["words"]): job["code"] for job in ended}
    if breaks is not as_they_are:  # a command that only reads needs no room
        assert {codes[name] for name in ("run tickets", "status tickets", "watch tickets", "tune tickets")} == {1}
