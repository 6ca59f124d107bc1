"""A flow that is told to stop leaves a run that goes on with it, on a real Prefect server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.flow_engine import run_flow

from fullcircle.core.errors import Preempted, TrainingFailed
from fullcircle.core.settings import Settings
from fullcircle.orchestration.reschedule import reschedule_if_preempted
from fullcircle.orchestration.schedule import schedule


def runs_after(settings: Settings, tmp_path: Path, project: str, error: Exception) -> list[tuple[str, dict[str, Any]]]:
    """State and parameters of the runs that a deployment has besides one whose flow raised this error."""

    @flow(name="retrain", persist_result=False)
    def stopped(project: str, reason: str = "scheduled") -> None:
        with reschedule_if_preempted():
            raise error

    schedule(project, settings, tmp_path)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"retrain/{project}-weekly")
        parameters = {"project": project, "reason": "drift"}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        with pytest.raises(type(error)):
            run_flow(stopped, flow_run=run, parameters=parameters)
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        found = [each for each in client.read_flow_runs(deployment_filter=chosen) if each.id != run.id]
        # The schedule's own runs lie ahead, too: they have the deployment's parameters alone.
        return [(each.state.type.value, each.parameters) for each in found if "reason" in each.parameters]


def test_a_preempted_flow_schedules_one_run_with_the_same_parameters(settings: Settings, tmp_path: Path) -> None:
    told = Preempted("preempted at step 7", step=7)
    assert runs_after(settings, tmp_path, "again", told) == [("SCHEDULED", {"project": "again", "reason": "drift"})]


def test_a_flow_that_failed_schedules_none(settings: Settings, tmp_path: Path) -> None:
    assert runs_after(settings, tmp_path, "failed", TrainingFailed("not finite")) == []


def test_a_flow_that_was_started_by_hand_schedules_none(settings: Settings) -> None:
    @flow(name="by-hand", persist_result=False)
    def stopped() -> None:
        with reschedule_if_preempted():
            raise Preempted("preempted at step 7", step=7)

    with get_client(sync_client=True) as client:
        before = client.count_flow_runs()
        with pytest.raises(Preempted):
            stopped()
        assert client.count_flow_runs() == before + 1
