"""Deployments, limit and automation on a real server, and a drift event that becomes a retrain."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule

from fullcircle.core.settings import Settings
from fullcircle.orchestration.events import emit_drift
from fullcircle.orchestration.flow_paths import flows_folder
from fullcircle.orchestration.schedule import POOL, schedule


def test_a_schedule_has_both_deployments_the_pool_the_limit_and_the_automation(
    settings: Settings, tmp_path: Path
) -> None:
    made = schedule("complete", settings, tmp_path)
    with get_client(sync_client=True) as client:
        assert client.read_work_pool(POOL).type == "process"
        assert client.read_global_concurrency_limit_by_name("retrain-complete").limit == 1
        for name in made.deployments:
            deployment = client.read_deployment_by_name(name)
            assert deployment.work_pool_name == POOL
            assert deployment.parameters == {"project": "complete"}
            flow = name.split("/")[0]
            assert deployment.entrypoint == f"{flows_folder() / flow}.py:{flow}"
            assert deployment.pull_steps == [
                {"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}
            ]
            assert deployment.job_variables["env"] == {"FULLCIRCLE_HOME": str(settings.home)}
        (automation,) = client.read_automations_by_name(made.automation)
        assert automation.trigger.expect == {"fullcircle.drift.detected"}
    assert made.deployments == {
        "retrain/complete-weekly": "cron '0 3 * * 1'",
        "watch/complete-watch": "every 1 day, 0:00:00",
        "deliver/complete-deliver": "every 0:10:00",
    }
    assert "fullcircle ui" in made.text()
    assert made.as_json()["limit"] == "retrain-complete"


def test_scheduling_twice_makes_nothing_twice_and_moves_to_the_new_root(settings: Settings, tmp_path: Path) -> None:
    def everything(client: SyncPrefectClient) -> tuple[object, ...]:
        deployments = [client.read_deployment_by_name(f"{flow}/twice-{when}") for flow, when in FLOWS]
        automations = client.read_automations_by_name("retrain-twice-on-drift")
        return (
            [(found.id, [each.schedule for each in found.schedules]) for found in deployments],
            [(found.id, found.actions) for found in automations],
        )

    first = schedule("twice", settings, tmp_path)
    with get_client(sync_client=True) as client:
        before = everything(client)
        assert schedule("twice", settings, tmp_path / "moved") == first
        assert everything(client) == before
        moved = client.read_deployment_by_name("retrain/twice-weekly")
        assert moved.job_variables["working_dir"] == str(tmp_path / "moved")


FLOWS = (("retrain", "weekly"), ("watch", "watch"), ("deliver", "deliver"))


def test_a_project_is_watched_as_often_as_it_says_and_a_change_of_that_leaves_one_schedule(
    settings: Settings, tmp_path: Path
) -> None:
    for every in (timedelta(days=1), timedelta(hours=6)):
        schedule("often", settings, tmp_path, watch_every=every)
        with get_client(sync_client=True) as client:
            (found,) = client.read_deployment_by_name("watch/often-watch").schedules
        assert isinstance(found.schedule, IntervalSchedule)
        assert (found.schedule.interval, found.schedule.anchor_date.hour) == (every, 5)


def test_what_is_on_a_schedule_has_runs_to_come_at_its_moments(settings: Settings, tmp_path: Path) -> None:
    made = schedule("soon", settings, tmp_path)
    with get_client(sync_client=True) as client:
        for name in made.deployments:
            found = client.read_deployment_by_name(name)
            chosen = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
            deadline = time.monotonic() + 120
            while not (runs := client.read_flow_runs(deployment_filter=chosen)) and time.monotonic() < deadline:
                time.sleep(0.5)
            assert runs, f"the server made no run of {name}"
            assert {run.state_name for run in runs} == {"Scheduled"}
            hours = {run.expected_start_time.hour for run in runs if run.expected_start_time}
            if expected := {"retrain/soon-weekly": {3}, "watch/soon-watch": {5}}.get(name):
                assert hours == expected


def test_a_drift_event_makes_a_retrain_run_of_that_project_alone(settings: Settings, tmp_path: Path) -> None:
    schedule("drifting", settings, tmp_path)
    schedule("steady", settings, tmp_path)
    emit_drift("drifting", {"reason": "realised ROC AUC fell", "window": "2013-06", "key": "window:2013-06"})
    with get_client(sync_client=True) as client:
        runs = _unscheduled(client, "retrain/drifting-weekly", patience_s=30)
        retrain_trigger = {"project": "drifting", "reason": "realised ROC AUC fell", "key": "window:2013-06"}
        assert [run.parameters for run in runs] == [retrain_trigger]
        assert _unscheduled(client, "retrain/steady-weekly", patience_s=0) == []


def _unscheduled(client: SyncPrefectClient, name: str, patience_s: float) -> list[FlowRun]:
    """The runs of a deployment that no cron made, waited for."""
    deployment = client.read_deployment_by_name(name)
    chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    deadline = time.monotonic() + patience_s
    while True:
        runs = [run for run in client.read_flow_runs(deployment_filter=chosen) if not run.auto_scheduled]
        if runs or time.monotonic() >= deadline:
            return runs
        time.sleep(0.2)


@pytest.mark.parametrize("field", ["tracking_uri", "database_url"])
def test_no_address_with_a_password_reaches_a_deployment(field: str, settings: Settings, tmp_path: Path) -> None:
    import dataclasses

    secret = dataclasses.replace(settings, **{field: "postgresql://me:hidden-word@db/x"})
    schedule("secret", secret, tmp_path)
    with get_client(sync_client=True) as client:
        assert "hidden-word" not in client.read_deployment_by_name("retrain/secret-weekly").model_dump_json()
