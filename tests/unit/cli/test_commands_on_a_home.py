"""Commands on a real home of one database, as a user types them: what they print, and what is there afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fullcircle.cli import main
from fullcircle.core.security.identity import system_user
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.windows import Windows

JUNE = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["fullcircle", *words.split()])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("kind", ["regression", "multiclass", "multilabel"])
def test_a_new_project_of_a_kind_says_what_to_do_next_and_its_data_keeps_its_contract(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"new mine --task {kind}", monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: fullcircle run mine"
    assert typed("data check mine", monkeypatch) == 0
    assert capsys.readouterr().out == "12,000 rows of 6 files keep the contract of mine\n"
    assert typed("new mine", monkeypatch) == 2
    assert "mine" in capsys.readouterr().err


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("new mine --task ranking", monkeypatch) == 2
    said = capsys.readouterr().err
    assert "'ranking'" in said
    assert all(kind in said for kind in ("binary", "regression", "multiclass", "multilabel"))
    assert not (tmp_path / "mine").exists()


def test_a_home_comes_back_from_its_backup_elsewhere_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.from_env()
    Windows(Database(settings)).record("p", "2024-05", at=JUNE, row={"rows": 7})
    assert typed("backup circle.zip --json", monkeypatch) == 0
    made = json.loads(capsys.readouterr().out)
    assert (Path(made["home"]), made["files"] > 0) == (settings.home, True)
    assert (tmp_path / "circle.zip").stat().st_mode & 0o777 == 0o600

    assert typed("restore circle.zip --into back", monkeypatch) == 0
    assert str(tmp_path / "back") in capsys.readouterr().out
    back = Windows(Database(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "back")})))
    assert [row["rows"] for row in back.all("p")] == [7]

    assert typed("restore circle.zip --into back", monkeypatch) != 0
    assert "back" in capsys.readouterr().err


def test_a_backup_in_which_a_bit_flipped_puts_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Windows(Database(Settings.from_env())).record("p", "2024-05", at=JUNE, row={"rows": 7})
    assert typed("backup circle.zip", monkeypatch) == 0
    content = bytearray((tmp_path / "circle.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "circle.zip").write_bytes(content)
    capsys.readouterr()
    assert typed("restore circle.zip --into back", monkeypatch) == 1
    assert "circle.zip" in capsys.readouterr().err
    assert not (tmp_path / "back").exists() or not list((tmp_path / "back").iterdir())


def test_who_decides_is_the_systems_user_and_a_name_that_was_given_is_a_claim(tmp_path: Path) -> None:
    program = (
        "import json, click\n"
        "from fullcircle.cli.decided_by import BY, decided_by\n"
        "from fullcircle.core.security.identity import identity\n"
        "@click.command()\n@BY\ndef ask() -> None: click.echo(json.dumps([decided_by(), identity()['claims']]))\n"
        "ask(['--by', 'the ceo'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    user, claims = json.loads(done.stdout)
    assert user == system_user()
    assert claims["--by"] == "the ceo"
