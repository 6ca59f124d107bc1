"""The flows themselves, in-process and from the command line, on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

from fullcircle.core.errors import ContractViolated, UsageError
from fullcircle.core.settings import Settings
from fullcircle.orchestration.concurrency_limits import limit_name
from fullcircle.orchestration.flow_paths import flow_file, load_flow
from fullcircle.orchestration.schedule import DELIVER_EVERY, POOL, RETRAIN_CRON, WATCH_ANCHOR, drift_automation
from fullcircle.store.database import Database
from fullcircle.store.retrain_requests import Retrains, RetrainSource, RetrainState

PROJECT = """
from fullcircle.core.project import Binary, Number, Project

def build(inputs, params):
    raise AssertionError("nothing may be trained")

project = Project(
    name="broken", owner="me", columns=(Number("age", low=0),), target=Binary("late", positive="late"),
    time="time", row_id="row", torch=build,
)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the project `broken`: two of its ten rows have a negative age."""
    (tmp_path / "broken" / "data").mkdir(parents=True)
    (tmp_path / "broken" / "project.py").write_text(PROJECT)
    rows = pd.DataFrame(
        {
            "age": [-1.0, -2.0, *range(8)],
            "late": pd.Series([0, 1] * 5, dtype="int8"),
            "time": pd.date_range("2024-01-01", periods=10, freq="D", tz="UTC").astype("datetime64[us, UTC]"),
            "row": [f"r{number}" for number in range(10)],
        }
    )
    rows.to_parquet(tmp_path / "broken" / "data" / "2024-01.parquet", index=False)
    return tmp_path


@pytest.mark.usefixtures("settings")
def test_a_retrain_on_data_that_breaks_the_contract_fails_once_and_frees_its_place(root: Path) -> None:
    with pytest.raises(ContractViolated, match="broken"):
        load_flow("retrain").retrain("broken", reason="a test", root=str(root))
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(limit_name("broken")).active_slots == 0
        chosen = FlowRunFilter(tags=FlowRunFilterTags(all_=["project:broken", "retrain"]))
        (run,) = client.read_flow_runs(flow_run_filter=chosen)
        assert run.name == "retrain broken: a test"
        assert run.state is not None
        assert run.state.is_failed()


def test_a_retrain_that_was_made_already_is_skipped_which_is_no_failure(settings: Settings, root: Path) -> None:
    retrains = Retrains(Database(settings))
    wish = {"source": RetrainSource.EVENT, "reason": "drift", "at": datetime.now(UTC), "counts": True}
    retrains.begin("broken", "window:2024-01", **wish)
    retrains.end("broken", "window:2024-01", RetrainState.DONE)
    state = load_flow("retrain").retrain("broken", root=str(root), key="window:2024-01", return_state=True)
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert "was made already" in state.message


@pytest.mark.usefixtures("settings")
def test_a_flow_parameter_that_is_no_time_is_a_usage_error(root: Path) -> None:
    with pytest.raises(UsageError, match="'soon' is no ISO 8601 time"):
        load_flow("watch").watch("broken", end="soon", root=str(root))


def test_a_flow_file_run_by_hand_ends_with_one_line_and_the_error_s_exit_code(
    settings: Settings, api: str, root: Path
) -> None:
    environment = {**os.environ, "FULLCIRCLE_HOME": str(settings.home), "PREFECT_API_URL": api}
    command = [sys.executable, str(flow_file("retrain")), "brokn"]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("ProjectNotFound: no project 'brokn'")
    assert "did you mean broken?" in ended.stderr.splitlines()[-1]


def test_prefect_yaml_says_the_same_as_fullcircle_schedule(repository: Path) -> None:
    from uuid import uuid4

    written = yaml.safe_load((repository / "prefect.yaml").read_text())
    retrain, watch, deliver = written["deployments"]
    daily = {"interval": 86400, "anchor_date": WATCH_ANCHOR.isoformat()}
    often = daily | {"interval": int(DELIVER_EVERY.total_seconds())}
    for deployment, flow, name, when in (
        (retrain, "retrain", "flights-weekly", {"cron": RETRAIN_CRON}),
        (watch, "watch", "flights-watch", daily),
        (deliver, "deliver", "flights-deliver", often),
    ):
        assert deployment["name"] == name
        assert deployment["entrypoint"] == f"flows/{flow}.py:{flow}"
        assert deployment["schedules"] == [{**when, "timezone": "UTC", "slug": "cron"}]
        assert deployment["work_pool"] == {"name": POOL}
    (trigger,) = retrain["triggers"]
    made = drift_automation("flights", uuid4())
    assert trigger["name"] == made.name
    assert set(trigger["expect"]) == made.trigger.expect
    assert trigger["match"] == made.trigger.match.root
    assert trigger["parameters"] == made.actions[0].parameters
