"""A command's exit code is the program's: scripts and alerts hang on it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from fullcircle.cli import main
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.settings import Settings
from fullcircle.scaffold.new_project import create
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents

MAY = datetime(2013, 5, 1, tzinfo=UTC)


def test_incidents_exit_with_1_while_one_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fullcircle", "incidents", "tickets"])
    main()
    incident = Incident(
        key="tickets:drift",
        project="tickets",
        cause="drift",
        severity=Severity.WARNING,
        title="drift",
        since=MAY,
        seen=MAY,
        columns=(),
        evidence={},
        links={},
    )
    incidents = Incidents(Database(Settings.from_env()))
    number, _ = incidents.see(incident)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    incidents.change(number, resolved=MAY)
    main()


@pytest.mark.parametrize("command", ["status", "incidents"])
def test_a_page_that_did_not_arrive_is_shown_and_is_exit_code_1_until_it_does(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    about = {"key": "tickets:drift", "project": "tickets", "cause": "drift", "severity": Severity.WARNING, "title": "d"}
    incident = Incident(**about, since=MAY, seen=MAY, columns=(), evidence={}, links={})  # type: ignore[arg-type]
    incidents = Incidents(Database(Settings.from_env()))
    number, _ = incidents.see(incident)
    incidents.change(number, resolved=MAY)
    incidents.queue(number, "json-1f2e3d4c5b6a", "open", {"title": "[bold]drift[/]", "body": "b"})
    (page,) = incidents.undelivered("tickets")
    incidents.failed(page.id, "HTTP 503")
    assert refused(f"{command} tickets", monkeypatch) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "[bold]drift[/]" in said
    assert "json-1f2e3d4c5b6a" in said
    assert "HTTP 503" in said
    incidents.delivered(page.id)
    main()
    assert "HTTP 503" not in capsys.readouterr().out


def refused(words: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of a command that must not end well."""
    monkeypatch.setattr(sys, "argv", ["fullcircle", *words.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("statu tickets", "No such command 'statu'. Did you mean status?"),
        ("ledger verfy", "No such command 'verfy'. Did you mean verify?"),
        ("data xyz", "No such command 'xyz'. There are check, list, restore."),
        (
            "watch tickets --start 2024-07-01 --end 2024-06-01",
            "a window must end after it starts, got 2024-07-01 00:00",
        ),
        ("rollback tickets --reason=", "a reason is needed: it is kept in the ledger"),
        ("run tickets --why=", "a reason is needed: it is kept in the ledger"),
        (
            "serve tickets --host 0.0.0.0",
            "the inference server of 'tickets' would answer everybody who reaches '0.0.0.0'",
        ),
        ("serve tickets --host ::", "-> set FULLCIRCLE_TOKEN (python -c"),
        (
            "train tickets --framework torch --set training.clip_norm=-1",
            "training.clip_norm must be a number from 1e-30 to 1e+30 or null, g",
        ),
        (
            "train tickets --framework torch --set training.seed=4294967296",
            "training.seed must be a whole number from 0 to 4294967295, got",
        ),
        (
            "tune tickets --framework torch --space training.epochs=0..5",
            "training.epochs must be a whole number from 1 to 1000000, got 0",
        ),
    ],
)
def test_words_that_mean_nothing_exit_with_2_and_say_what_would(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert refused(words, monkeypatch) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / ".fullcircle").glob("*.db")), "nothing was begun"


def test_a_batch_that_is_no_parquet_file_exits_with_1_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert refused("data check tickets --file tickets/project.py", monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.startswith("DataUnavailable: tickets/project.py does not read (ArrowInvalid: ")
    assert said.endswith("  -> it must be a Parquet file: make it again\n")


def test_a_check_of_data_says_as_json_what_its_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fullcircle", "data", "check", "tickets", "--json"])
    main()
    good = json.loads(capsys.readouterr().out)
    read = {"rows": 12_000, "files": 6, "notes": []}
    assert good == {"project": "tickets", "holds": True, "violations": [], **read}
    rows = pd.read_parquet(tmp_path / "tickets/data/2024-06.parquet").head(50)
    rows.loc[5, "queue"] = -1
    rows.to_parquet(tmp_path / "bad.parquet")
    assert refused("data check tickets --json --file bad.parquet", monkeypatch) == 1
    said = capsys.readouterr()
    bad = json.loads(said.out)
    assert (bad["holds"], bad["rows"], [(each["column"], each["count"]) for each in bad["violations"]]) == (
        *(False, 50, [("queue", 1)]),
    )
    assert Path(bad["kept"]).exists()
    assert "Violations of the data contract" in said.err


def test_a_variable_that_is_nearly_a_setting_is_said_to_have_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FULLCIRCLE_TRACKING_URI", "FULLCIRCLE_SERVICE_PORT", "FULLCIRCLE_WATTS", "FULLCIRCLE_QUITE_ELSE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["fullcircle", "sync"])
    main()
    meant = "FULLCIRCLE_TRACKING_URI is no setting and has no effect; did you mean MLFLOW_TRACKING_URI?"
    assert capsys.readouterr().err == f"fullcircle: {meant}\n"


def test_a_project_file_that_does_not_load_is_named_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tickets" / "project.py"
    lines = len(path.read_text().splitlines())
    path.write_text(path.read_text() + "project = project(1)\n")
    assert refused("status tickets", monkeypatch) == 2
    said = capsys.readouterr().err
    assert f"project.py does not load (TypeError: 'Project' object is not callable, line {lines + 1})" in said


def test_a_project_of_which_nothing_is_recorded_shows_a_sentence_and_no_empty_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    for words, said in (
        ("ledger show", "there is nothing yet\n"),
        ("incidents", "tickets has had no incidents\n"),
    ):
        monkeypatch.setattr(sys, "argv", ["fullcircle", *words.split(), "tickets"])
        main()
        assert capsys.readouterr().out == said


def test_a_check_of_a_folder_and_of_its_files_agree_and_nothing_is_passed_over_without_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tickets" / "data"
    (folder / "_SUCCESS").touch()
    for file in ("", *sorted(str(path) for path in folder.glob("*.parquet"))):
        monkeypatch.setattr(
            sys, "argv", ["fullcircle", "data", "check", "tickets", *(("--file", file) if file else ())]
        )
        main()
        said = capsys.readouterr()
        assert ("passed over in the data folder: _SUCCESS" in said.err) is (not file)
        assert ("of 1 file keep" if file else "12,000 rows of 6 files keep") in said.out
    month = folder / "2024-06.parquet"
    naive = pd.read_parquet(month)
    opened = next(name for name in naive.columns if isinstance(naive[name].dtype, pd.DatetimeTZDtype))
    naive[opened] = naive[opened].dt.tz_localize(None)
    naive.to_parquet(month, index=False)
    for words in ("data check tickets --json", f"data check tickets --json --file {month}"):
        assert refused(words, monkeypatch) == 1
        found = json.loads(capsys.readouterr().out)["violations"]
        assert [(each["column"], each["rule"]) for each in found] == [(opened, "is a time with a timezone")]
    (folder / "2024-07.parquet").mkdir()
    assert refused("data check tickets", monkeypatch) == 1
    (line, hint) = capsys.readouterr().err.splitlines()
    assert line.endswith("2024-07.parquet is a folder (write its rows as one file named <YYYY-MM>.parquet)")
    assert hint == "  -> mend that, or move it out of the folder; nothing was read"
