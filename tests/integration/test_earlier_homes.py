"""A home that an earlier version made is opened by this one, at another place than where it was made."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.security.identity import system_user
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.predictions import log_reader
from fullcircle.predictions.fingerprints.reader import fingerprints
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore


@dataclass(frozen=True, kw_only=True)
class EarlierHome:
    """What a home of an earlier version holds; see tests/fixtures/README.md.

    Attributes:
        hashes: how the hash of each entry of its ledger begins.
        first_champion_at: a moment at which version 1 served.
        severities: of its open incidents, sorted.
        prediction, answer: an id that it logged, and what is traced of it.
        rows: of the older of its two data versions.
        unsealed: answers in the write-ahead file of a killed server.
        unsent: runs that its spool holds back.
    """

    file: str
    hashes: tuple[str, ...]
    first_champion_at: str
    severities: tuple[str, ...]
    prediction: str
    answer: str
    rows: int
    unsealed: int = 0
    unsent: int = 0


HOMES = (
    EarlierHome(
        file="home-0.1.0.tar.xz",
        hashes=("b72aa43e", "edd62b3f"),
        first_champion_at="2024-05-01",
        severities=("critical", "warning"),
        prediction="01a21eb3-22fc-74be-9888-5209708c2f06",
        answer="probability 0.4729, label 1",
        rows=6000,
    ),
    EarlierHome(
        file="home-before-tasks.tar.xz",
        hashes=("994ac859", "1f2bf424", "85d204ff"),
        first_champion_at="2026-11-28T00:50:00",
        severities=("warning", "warning"),
        prediction="01a21fa0-fa6a-77aa-80b4-3d9cdcf5f612",
        answer="probability 0.3181, label 1",
        rows=3000,
        unsealed=40,
        unsent=1,
    ),
)


@pytest.fixture(scope="module", params=HOMES, ids=lambda home: home.file.removesuffix(".tar.xz"))
def earlier(request: pytest.FixtureRequest) -> EarlierHome:
    """Each of the homes in turn."""
    home: EarlierHome = request.param
    return home


@pytest.fixture(scope="module")
def unpacked(earlier: EarlierHome, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with its `home/` and `tickets/`."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(repository / "tests" / "fixtures" / earlier.file) as archive:
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


def test_its_ledger_is_whole_and_names_who_served_when(ask: Ask, earlier: EarlierHome) -> None:
    ask("ledger", "verify", "tickets")
    assert json.loads(ask("who", "tickets", "--json"))["version"] == "2"
    assert json.loads(ask("who", "tickets", "--at", earlier.first_champion_at, "--json"))["version"] == "1"


def test_its_entries_keep_the_hashes_that_they_were_written_with(ask: Ask, earlier: EarlierHome) -> None:
    entries = json.loads(ask("ledger", "show", "tickets", "--json"))
    assert tuple(entry["hash"][:8] for entry in entries) == earlier.hashes


def test_its_incidents_are_still_open(ask: Ask, earlier: EarlierHome) -> None:
    incidents = json.loads(ask("incidents", "tickets", "--json", codes=(1,)))  # 1: some are open
    assert tuple(sorted(incident["severity"] for incident in incidents)) == earlier.severities


def test_a_prediction_of_it_is_traced_to_the_version_that_answered(ask: Ask, earlier: EarlierHome) -> None:
    shown = " ".join(ask("trace", earlier.prediction, codes=(0, 1)).split())  # 1: its code is in no checkout here
    assert "tickets version 1" in shown
    assert earlier.answer in shown


def test_the_answers_that_a_killed_server_never_sealed_are_recovered(unpacked: Path, earlier: EarlierHome) -> None:
    folder, project = unpacked / "home" / "predictions" / "tickets", load_project("tickets", unpacked)
    files = list((folder / "wal").glob("*.wal"))
    assert len(files) == bool(earlier.unsealed)
    before = _sealed(folder)
    PredictionLog(folder, project.inputs, project.target.answers, background=False).close()
    assert _sealed(folder) == before + earlier.unsealed
    assert not any(file.exists() for file in files)
    assert not (folder / "damaged").exists()


def test_what_a_killed_training_told_last_is_sent_once(ask: Ask, unpacked: Path, earlier: EarlierHome) -> None:
    waiting = [json.loads(path.read_text())["run_id"] for path in (unpacked / "home" / "spool").glob("*/run.json")]
    assert len(waiting) == earlier.unsent
    before = _points(unpacked / "home", waiting)
    assert json.loads(ask("sync", "--json")) == {"unsent": []}
    assert list((unpacked / "home" / "spool").glob("*")) == []
    sent = _points(unpacked / "home", waiting)
    assert bool(earlier.unsent) == (len(sent) > len(before))
    assert len(set(sent)) == len(sent)


def test_it_is_private_once_it_was_opened(ask: Ask, unpacked: Path) -> None:
    (unpacked / "home").chmod(0o755)
    (unpacked / "home" / "mlflow.db").chmod(0o644)
    ask("ledger", "verify", "tickets")
    assert [str(each) for each in (unpacked / "home").rglob("*") if each.lstat().st_mode & 0o077] == []


def test_its_data_versions_are_listed_and_come_back(ask: Ask, tmp_path: Path, earlier: EarlierHome) -> None:
    listed = json.loads(ask("data", "list", "tickets", "--json"))
    assert [each["version"] for each in listed] == ["2", "1"]
    restored = json.loads(ask("data", "restore", listed[1]["run_id"], "--into", str(tmp_path / "rows"), "--json"))
    assert restored["rows"] == earlier.rows
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == len(restored["files"]) == 3


def test_its_tables_name_the_place_where_it_lies_and_no_other(ask: Ask, unpacked: Path) -> None:
    ask("data", "list", "tickets")
    assert _places_of(unpacked / "home") == {(unpacked / "home").as_uri()}


def test_its_champion_is_served_from_where_it_lies(ask: Ask, unpacked: Path) -> None:
    ask("status", "tickets")
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(unpacked / "home")})
    champion = Registry(settings).version("tickets", "champion")
    shutil.rmtree(settings.home / "models")  # else it is there already, and nothing is fetched
    assert sha256_of(Registry(settings).graph(champion)) == champion.digest


def test_a_copy_and_what_it_is_a_copy_of_live_on_apart(unpacked: Path, ask: Ask) -> None:
    ask("status", "tickets")
    original, copy = unpacked / "home", unpacked / "copies" / "a #b'ü"
    shutil.copytree(original, copy)
    before = _files(original)
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(copy)})
    with RunStore(settings).start(_tickets(unpacked), name="in the copy", kind="train") as run:
        run.text("told", "told.txt")
    assert RunStore(settings).download(run.id, "told.txt").read_text() == "told"
    assert list(copy.glob(f"mlartifacts/tickets/{run.id}/artifacts/told.txt"))
    assert _files(original) == before
    assert _places_of(copy) == {copy.as_uri()}
    assert _places_of(original) == {original.as_uri()}


def test_a_copy_that_an_earlier_version_trained_in_gets_the_artifacts_that_went_astray(tmp_path: Path) -> None:
    # Before, the copy of a home wrote its runs' artifacts into the home that it was copied from.
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "original")})
    with RunStore(settings).start(_tickets(tmp_path), name="astray", kind="train") as run:
        run.text("told", "told.txt")
    copy = tmp_path / "copy"
    shutil.copytree(settings.home, copy)
    (copy / "home.json").unlink()
    shutil.rmtree(copy / "mlartifacts" / "tickets" / run.id)
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(copy)})
    assert RunStore(settings).download(run.id, "told.txt").read_text() == "told"
    assert (copy / "mlartifacts" / "tickets" / run.id / "artifacts" / "told.txt").exists()


def test_its_predictions_get_fingerprints_when_they_are_first_asked_for(unpacked: Path, earlier: EarlierHome) -> None:
    folder, project = unpacked / "home" / "predictions" / "tickets", load_project("tickets", unpacked)
    start, end = datetime(2010, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    for file in folder.glob("segments/*/*.fingerprint"):  # of rows that this version sealed in another test
        file.unlink()
    segments = len(list(folder.glob("segments/*/*.parquet")))
    found = fingerprints(project, folder, start, end)
    window, rows = log_reader.window(project, folder, start, end)
    assert (found.made, len(list(folder.glob("segments/*/*.fingerprint")))) == (segments, segments)
    assert found.total is not None
    assert window.rows > 0
    repeats = found.total.row_ids.repeats.estimate
    assert (found.total.rows - repeats, found.total.labelled) == (window.rows, window.labelled)
    mean = found.total.answers["probability"].mean
    assert mean == pytest.approx(rows["probability"].astype("float64").mean())
    assert fingerprints(project, folder, start, end).made == 0


def _tickets(folder: Path) -> Project:
    return Project(
        name="tickets",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        folder=folder,
    )


def _sealed(folder: Path) -> int:
    """Rows in the log's Parquet files."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("segments/**/*.parquet"))


def _points(home: Path, runs: list[str]) -> list[tuple[str, str, int]]:
    """Run, metric and step of what the tracker has of these runs."""
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        rows = connection.execute("SELECT run_uuid, key, step FROM metrics WHERE key NOT LIKE 'system/%'").fetchall()
    return [row for row in rows if row[0] in runs]


def _files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def _places_of(home: Path) -> set[str]:
    """The homes that MLflow's tables name."""
    wanted = {"experiments": "artifact_location", "runs": "artifact_uri", "model_versions": "storage_location"}
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        found = [
            uri for table, column in wanted.items() for (uri,) in connection.execute(f"SELECT {column} FROM {table}")
        ]
    return {uri.split("/mlartifacts/")[0] for uri in found}


def test_what_is_decided_in_it_names_the_systems_user_and_calls_the_rest_a_claim(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, earlier: EarlierHome
) -> None:
    monkeypatch.setenv("LOGNAME", "ceo")
    monkeypatch.setenv("USER", "ceo")
    ask("rollback", "tickets", "--why", "complaints", "--by", "the boss")
    made = json.loads(ask("ledger", "show", "tickets", "--json"))[-1]
    assert (made["who"], made["identity"]["user"], made["identity"]["uid"]) == (
        system_user(),
        system_user(),
        os.geteuid(),
    )
    assert made["identity"]["claims"] | {"git user.name": ""} == {
        "LOGNAME": "ceo", "USER": "ceo", "--by": "the boss", "git user.name": ""
    }  # fmt: skip
    said = ask("who", "tickets")
    assert f"{system_user()} (claims to be ceo: LOGNAME, USER; claims to be the boss: --by" in said
    if earlier.file == "home-0.1.0.tar.xz":  # its entries have no identity yet
        assert "by its own account" in ask("who", "tickets", "--at", earlier.first_champion_at)
    ask("ledger", "verify", "tickets")


def test_a_watch_of_its_window_prints_the_incidents_for_which_it_exits_with_1(
    ask: Ask, unpacked: Path, earlier: EarlierHome
) -> None:
    known = json.loads(ask("incidents", "tickets", "--json", codes=(0, 1)))
    span = "--start", known[0]["since"], "--end", known[0]["seen"]
    said = " ".join(ask("watch", "tickets", *span, "--no-report", codes=(1,)).split())
    assert "incident, " in said
    assert list((unpacked / "home" / "reports" / "tickets").glob("*.html")), (
        "an incident has its report, asked for or not"
    )
