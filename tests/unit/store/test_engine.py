"""Addresses of databases: which driver opens one, and what is said, without its password, when none can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.settings import Settings
from fullcircle.store.engine import open_engine, shown, turn

VARIABLE = "FULLCIRCLE_DATABASE_URL"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgres_address_needs_no_driver_in_it(scheme: str) -> None:
    env = {VARIABLE: f"{scheme}://me:word@host/circle", "MLFLOW_TRACKING_URI": f"{scheme}://me:word@host/mlflow"}
    settings = Settings.from_env(env)
    assert settings.database_url == "postgresql+psycopg://me:word@host/circle"
    assert settings.tracking_uri == "postgresql+psycopg://me:word@host/mlflow"
    assert "word" not in repr(settings)


def test_mlflow_and_the_platform_are_not_let_into_one_database() -> None:
    address = "postgresql://me:word@host/circle"
    with pytest.raises(UsageError, match="name the same database") as refusal:
        Settings.from_env({VARIABLE: address, "MLFLOW_TRACKING_URI": address})
    assert "word" not in str(refusal.value)


@pytest.mark.parametrize("address", ["postgresql+psycopg2://h/db", "sqlite:///x.db", "http://h:5000", "postgresql"])
def test_any_other_address_stays_as_it_is(address: str) -> None:
    assert Settings.from_env({"MLFLOW_TRACKING_URI": address}).tracking_uri == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql//u:hidden@h/db", "it is no address such as postgresql://user:password@host:5432/database"),
        ("postgresql+psycopg://u:hidden@h:port/db", "it is no address such as"),
        ("postgresql+psycopg://u:so@hidden@h/db", "it has more than one @; write %40 for one in a password"),
        ("postgresql+asyncpg://u:hidden@h/db", "asyncpg is a driver for asyncio alone; write postgresql://"),
        ("nosuch://u:hidden@h/db", "Can't load plugin"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line_without_its_password(address: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        open_engine(address, variable=VARIABLE)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"{VARIABLE} cannot be used: ")
    assert "hidden" not in str(refusal.value)


def test_no_password_is_shown_wherever_the_address_has_it() -> None:
    assert shown("postgresql+psycopg://u:hidden@h:1/db?sslmode=require") == "postgresql+psycopg://u:***@h:1/db"
    assert shown("postgresql+psycopg://h/db?user=u&password=hidden") == "postgresql+psycopg://h/db"


def test_a_server_that_is_not_there_is_one_line() -> None:
    address = "postgresql+psycopg://u:hidden@127.0.0.1:1/db"
    with pytest.raises(FullcircleError, match="Connection refused") as refusal, turn(address, variable=VARIABLE):
        pytest.fail("nobody listens there")
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("variable", [VARIABLE, "MLFLOW_TRACKING_URI"])
def test_without_the_driver_the_command_line_names_the_extra_in_one_line(tmp_path: Path, variable: str) -> None:
    # None in sys.modules: to Python, a module that is not installed.
    script = "import sys; sys.modules['psycopg'] = None; from fullcircle.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "ledger", "verify"],
        env={"PATH": "", "FULLCIRCLE_HOME": str(tmp_path), variable: "postgresql://u:hidden@127.0.0.1:1/db"}
        | {"PYTHONPATH": str(Path(sys.modules["fullcircle"].__path__[0]).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    first, second = done.stderr.splitlines()
    assert f"UsageError: {variable} needs a driver that cannot be imported" in first
    assert second == "  -> pip install 'fullcircle[postgres]'"
