"""A user's day with PostgreSQL beneath MLflow and the platform's tables: a project, a champion, a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from fullcircle.cli import fullcircle

SMALLER = (
    ("keras=build_keras if HAS_KERAS else None", "keras=None"),
    ("epochs=30", "epochs=2"),
    ('AtLeast("roc_auc", 0.65)', 'AtLeast("roc_auc", 0.5)'),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def addresses(new_database: Callable[..., str]) -> dict[str, str]:
    """One server, two databases."""
    return {"FULLCIRCLE_DATABASE_URL": new_database(), "MLFLOW_TRACKING_URI": new_database()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small new project in it; the programs run there."""
    made = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as shell:
        shell.chdir(made)
        assert CliRunner().invoke(fullcircle, ["new", "tickets"]).exit_code == 0
        path = made / "tickets" / "project.py"
        for old, new in SMALLER:
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        for month in sorted((made / "tickets" / "data").glob("*.parquet"))[:3]:
            month.unlink()  # half of the rows will do
        yield made


@pytest.fixture(scope="module")
def said(addresses: dict[str, str], folder: Path) -> dict[str, str]:
    """What each command says, in the order of a day."""
    shell = CliRunner(env={**addresses, "FULLCIRCLE_HOME": str(folder / "home"), "COLUMNS": "200"})
    told = {}
    for words in (
        "run tickets --json",
        "ledger verify",
        "status tickets --json",
        "who tickets --json",
        "tune tickets --framework torch --trials 2 --json",
        "status tickets",
        "sync",
    ):
        done = shell.invoke(fullcircle, words.split(), catch_exceptions=False)
        assert done.exit_code == 0, f"{words}: {done.output}"
        told[words] = done.stdout
    return told


def test_the_circle_ends_with_a_champion_whose_ledger_holds(said: dict[str, str]) -> None:
    run = json.loads(said["run tickets --json"])
    assert run["promoted"] is True
    assert said["ledger verify"] == "tickets: 1 entry, and the aliases are as it says\n"
    status = json.loads(said["status tickets --json"])
    assert status["aliases"]["champion"]["version"] == run["version"]["version"] == "1"
    who = json.loads(said["who tickets --json"])
    assert (who["version"], who["action"]) == ("1", "promote")


def test_a_search_ends_with_a_best_trial(said: dict[str, str]) -> None:
    (study,) = json.loads(said["tune tickets --framework torch --trials 2 --json"])["studies"]
    assert (study["study"], study["ended"]) == ("tickets/torch", 2)


def test_all_of_it_is_in_postgres_and_no_sqlite_file_was_made(
    said: dict[str, str], addresses: dict[str, str], folder: Path
) -> None:
    counted = {}
    for variable, tables in (
        ("FULLCIRCLE_DATABASE_URL", ("releases", "ledger", "studies")),
        ("MLFLOW_TRACKING_URI", ("runs", "registered_models", "model_versions")),
    ):
        engine = create_engine(addresses[variable].replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            for table in tables:
                counted[table] = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        engine.dispose()
    assert (counted["releases"], counted["ledger"], counted["model_versions"]) == (1, 1, 1)
    assert min(counted.values()) > 0
    assert [path for path in (folder / "home").rglob("*.db") if path.name in ("mlflow.db", "fullcircle.db")] == []
    assert list((folder / "home" / "mlartifacts").rglob("*.onnx"))
    assert sorted(path.name for path in folder.iterdir()) == ["home", "tickets"]


def test_the_password_is_in_nothing_that_was_said_or_written(said: dict[str, str], folder: Path) -> None:
    assert [words for words, output in said.items() if "hidden-word" in output] == []
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if b"hidden-word" in path.read_bytes()] == []
