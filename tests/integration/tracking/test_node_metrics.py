"""Machines of one job that all write into one run, through a real tracking server."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import pytest

from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import Service, free_port
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import PROCESS, packed
from fullcircle.tracking.runs.system_metrics import node_name
from fullcircle.training.telemetry.node_metrics import log_node_metrics


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"FULLCIRCLE_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}


@pytest.fixture
def server(env: dict[str, str], tmp_path: Path) -> Service:
    own = Settings.from_env({"FULLCIRCLE_HOME": env["FULLCIRCLE_HOME"]})
    RunStore(own).prepare()
    url = env["MLFLOW_TRACKING_URI"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    return Service(
        name="MLflow",
        command=[
            *command,
            *("--workers", "1", "--backend-store-uri", own.tracking_uri),
            *("--artifacts-destination", str(tmp_path / "artifacts")),  # else into the working folder
        ],
        ready_url=f"{url}/health",
        log=tmp_path / "mlflow.log",
    )


@pytest.mark.slow
def test_a_machine_that_did_not_launch_logs_its_load_under_its_own_name(
    env: dict[str, str], server: Service, project: Project
) -> None:
    settings = Settings.from_env(env)
    client = mlflow.MlflowClient(settings.tracking_uri)

    def machines(run_id: str) -> set[str]:
        keys = client.get_run(run_id).data.metrics
        return {key.split("/")[1] for key in keys if key.endswith("/cpu_utilization_percentage")}

    with server:
        run = RunStore(settings).start(project, name="torch", kind="train")
        with log_node_metrics(run.id, env):  # here was launched: the launcher watches this machine
            pass
        assert machines(run.id) == set()
        client.set_tag(run.id, PROCESS, packed({"host": "launcher"}))
        with log_node_metrics(run.id, {**env, "LOCAL_RANK": "1"}):  # the first process of a machine does it
            pass
        assert machines(run.id) == set()
        with log_node_metrics(run.id, env):
            pass
        assert machines(run.id) == {node_name()}
        run.end()


def test_without_a_tracking_server_no_other_machine_writes_anything(tmp_path: Path) -> None:
    with log_node_metrics("0" * 32, {"FULLCIRCLE_HOME": str(tmp_path / "home")}):
        pass
    assert not (tmp_path / "home").exists()


def test_a_tracking_server_that_does_not_answer_is_no_reason_to_stop_training(tmp_path: Path) -> None:
    env = {"FULLCIRCLE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    done = False
    with log_node_metrics("0" * 32, env):
        done = True
    assert done
