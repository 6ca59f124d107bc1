"""What a run needs goes away in its midst: nothing is trained twice, nothing is lost, and one line says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import Service, free_port
from fullcircle.orchestration.prefect_app import MARKER
from fullcircle.tracking.runs.run_store import RunStore

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(1500)]

Line = Callable[[str, "subprocess.Popen[str]"], None]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a small project whose model is torch alone."""
    from fullcircle.scaffold.new_project import create

    create("tickets", tmp_path)
    project = tmp_path / "tickets" / "project.py"
    text = project.read_text()
    assert 'find_spec("keras") is not None' in text
    project.write_text(text.replace('find_spec("keras") is not None', "False"))
    return tmp_path


@pytest.fixture
def tracker(tmp_path: Path) -> Service:
    """An MLflow server, not yet started; it may be killed and started again."""
    own = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "server")})
    RunStore(own).prepare()
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", own.tracking_uri, "--artifacts-destination", str(tmp_path / "artifacts")]
    return Service(
        name="MLflow",
        command=[*command, *stores],
        ready_url=f"http://127.0.0.1:{port}/health",
        log=tmp_path / "mlflow.log",
        env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )


def said(workplace: Path, words: str, env: dict[str, str], on_line: Line) -> tuple[int, list[str]]:
    """The exit code and the lines of a command; `on_line` hears each as it comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fullcircle.cli", *words.split()],
        cwd=workplace,
        env={**os.environ, "FULLCIRCLE_HOME": str(workplace / "home"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        on_line(line, process)
    return process.wait(), lines


@pytest.mark.parametrize(
    ("ends_by", "code"),
    [(None, 0), (signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9), ("limit", 1)],
    ids=["it comes back", "Ctrl-C", "SIGTERM", "kill -9", "the limit"],
)
def test_a_tracker_that_goes_away_at_the_first_epoch_costs_no_training(
    workplace: Path, tracker: Service, ends_by: signal.Signals | str | None, code: int
) -> None:
    url = tracker.ready_url.removesuffix("/health")
    env = {"MLFLOW_TRACKING_URI": url, "FULLCIRCLE_WAIT": "1s" if ends_by == "limit" else "1h"}
    told: list[str] = []

    def hear(line: str, process: subprocess.Popen[str]) -> None:
        if "torch epoch 1/" in line and not told:
            told.append("killed")
            tracker.stop()
        if "is away since" in line:
            told.append(line)
            if ends_by is None:
                tracker.start().wait_ready()
            elif isinstance(ends_by, signal.Signals):
                process.send_signal(ends_by)

    def epochs(lines: list[str]) -> int:
        return sum("torch epoch " in line for line in lines)

    with tracker:
        ended, lines = said(workplace, "run tickets", env, hear)
        assert ended == code, "".join(lines)
        assert (len(told), epochs(lines) > 1) == (2, True)
        assert f"the tracking server at {url} is away since" in told[1]
        assert not any("Traceback" in line for line in lines)
        if ends_by is not None:
            tracker.start().wait_ready()
            ended, lines = said(workplace, "run tickets", env, lambda line, process: None)
            assert (ended, epochs(lines)) == (0, 0), "".join(lines)
        client = mlflow.MlflowClient(url)
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        assert [run.info.status for run in runs] == ["FINISHED"] * 3
        assert len(client.search_model_versions("")) == 1


def test_a_prefect_server_of_our_own_that_is_killed_in_a_replay_comes_back_and_the_replay_ends(
    workplace: Path,
) -> None:
    killed: list[int] = []

    def hear(line: str, process: subprocess.Popen[str]) -> None:
        if "train torch" in line and not killed:
            marker = json.loads((workplace / "home" / "prefect" / MARKER).read_text())
            killed.append(marker["pid"])
            os.kill(marker["pid"], signal.SIGKILL)

    code, lines = said(workplace, "replay tickets --months 1", {}, hear)
    assert code == 0, "".join(lines)
    assert len(killed) == 1
    assert sum("the Prefect server ended with exit code -9" in line for line in lines) == 1
    assert not any("Traceback" in line for line in lines)
