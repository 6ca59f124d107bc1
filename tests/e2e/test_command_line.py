"""The command line on a small project: what is refused changes nothing, and what is stopped leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project of torch alone that was run once."""
    from fullcircle.scaffold.new_project import create

    folder = tmp_path_factory.mktemp("workplace")
    create("tickets", folder)
    project = folder / "tickets" / "project.py"
    project.write_text(project.read_text().replace('find_spec("keras") is not None', "False"))
    done = fullcircle(folder, "run", "tickets", "--until", "2024-04-01")
    assert done.returncode == 0, done.stderr
    return folder


def fullcircle(workplace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", *words],
        cwd=workplace,
        env={**os.environ, "FULLCIRCLE_HOME": str(workplace / "home"), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )


def running(home: Path) -> list[str]:
    """Command lines of the processes that work in this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FULLCIRCLE_HOME={home}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def gone_within(seconds: float, home: Path) -> list[str]:
    """What is still running after so long, at the most."""
    deadline = time.monotonic() + seconds
    while (left := running(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_a_batch_that_breaks_the_contract_is_shown_kept_aside_and_changes_nothing(workplace: Path) -> None:
    status = ("status", "tickets", "--json")
    before = json.loads(fullcircle(workplace, *status).stdout)
    assert before["aliases"]["champion"]["version"] == "1"

    month = workplace / "tickets" / "data" / "2024-04.parquet"
    good = month.read_bytes()
    rows = pd.read_parquet(month)
    rows["channel"] = rows["channel"].astype(object)
    rows.loc[rows.index[:4], "channel"] = "carrier pigeon"
    rows.loc[rows.index[4:6], "hour"] = 31
    rows.to_parquet(month, index=False)
    try:
        refused = fullcircle(workplace, "run", "tickets")
        checked = fullcircle(workplace, "data", "check", "tickets", "--file", str(month))
    finally:
        month.write_bytes(good)

    for done in (refused, checked):
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert "Violations of the data contract" in said
        assert "channel" in said
        assert "hour" in said
        assert "ContractViolated" in done.stderr
        assert "Traceback" not in done.stderr
    kept = list((workplace / "home" / "quarantine" / "tickets").rglob("*.parquet"))
    assert any((pd.read_parquet(path)["channel"] == "carrier pigeon").sum() == 4 for path in kept)
    assert json.loads(fullcircle(workplace, *status).stdout) == before


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_a_rolled_back_champion_serves_again_and_a_first_one_cannot_be_rolled_back(workplace: Path) -> None:
    alone = fullcircle(workplace, "rollback", "tickets")
    assert alone.returncode == 1
    assert "has no previous champion to roll back to" in alone.stderr
    again = fullcircle(workplace, "run", "tickets", "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["version"]["version"] == "2"
    if result["promoted"]:
        back = fullcircle(workplace, "rollback", "tickets", "--reason", "a test", "--json")
        assert back.returncode == 0, back.stderr
        made = json.loads(back.stdout)
        assert (made["action"], made["version"], made["previous"]) == ("rollback", "1", "2")
    status = json.loads(fullcircle(workplace, "status", "tickets", "--json").stdout)
    assert status["aliases"]["champion"]["version"] == "1"


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_a_model_of_a_project_with_human_approval_serves_once_somebody_approved_it(workplace: Path) -> None:
    project = workplace / "tickets" / "project.py"
    asked = workplace / "asked" / "tickets"
    shutil.copytree(project.parent, asked)
    (asked / "project.py").write_text(project.read_text().replace("Project(\n", 'Project(\n    approval="human",\n'))
    here = asked.parent
    done = fullcircle(here, "run", "tickets", "--until", "2024-04-01")
    assert done.returncode == 0, done.stderr
    assert "it waits for: fullcircle approve tickets 1 --why TEXT" in done.stdout
    nobody = fullcircle(here, "who", "tickets")
    assert (nobody.returncode, "had no champion" in nobody.stderr) == (1, True)
    approved = fullcircle(here, "approve", "tickets", "1", "--why", "read its card")
    assert approved.returncode == 0, approved.stderr
    found = json.loads(fullcircle(here, "who", "tickets", "--json").stdout)
    assert (found["version"], found["action"], found["why"], found["verdict"]) == (
        *("1", "approve", "read its card", "promote"),
    )
    assert min(len(found["model_digest"]), len(found["data_digest"])) >= 16
    verified = fullcircle(here, "ledger", "verify")
    assert (verified.returncode, verified.stdout) == (0, "tickets: 2 entries, and the aliases are as they say\n")


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("stop", "expected"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_replay_that_is_stopped_leaves_nothing_running(workplace: Path, stop: int, expected: int) -> None:
    """Stopped while its Prefect server and its inference server are up."""
    home = workplace / f"home-{stop}"
    process = subprocess.Popen(
        [sys.executable, "-m", "fullcircle.cli", "replay", "tickets"],
        cwd=workplace,
        env={**os.environ, "FULLCIRCLE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 300
        # With --graph it is a rehearsal: the Prefect server may not be up then.
        while not any("serving.server" in each and "--graph" not in each for each in running(home)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "the inference server did not start"
            time.sleep(0.1)
        assert any("prefect_app" in command for command in running(home)), "there is no Prefect server"
        process.send_signal(stop)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == expected, said
    assert "Traceback" not in said
    assert gone_within(20, home) == []
