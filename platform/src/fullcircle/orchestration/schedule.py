"""Deployments and schedules of a project: work pool, concurrency limit, and the automation on drift events."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.orchestration.concurrency_limits import ensure_limit, limit_name
from fullcircle.orchestration.events import DRIFT, resource_id
from fullcircle.orchestration.flow_paths import flow_file, load_flow
from fullcircle.orchestration.prefect_server import connect

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
    from prefect.events.schemas.automations import AutomationCore

    Schedule = CronSchedule | IntervalSchedule

POOL = "fullcircle"
RETRAIN_CRON = "0 3 * * 1"
"""Mondays at 03:00 UTC. A retrain that budget or cooldown forbid is not made: see `loop.retraining.retrain_budget`."""
DELIVER_EVERY = timedelta(minutes=10)
"""How often pages that wait are sent, unanswered ones escalate, and a missing watch is noticed."""
WATCH_ANCHOR = datetime(2024, 1, 1, 5, tzinfo=UTC)
"""Watches are whole `Watch.every` away from 05:00 UTC on a Monday: after the retrain, so that they see its champion."""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """What is now on the Prefect server for a project.

    Attributes:
        deployments: full name `<flow>/<deployment>` -> when it runs: a cron expression, UTC, or how often.
        automation: name of the automation that runs the retrain deployment on a drift event.
        api_url: where it is; the worker must use the same.
        own_server: whether that server is this home's own, which `fullcircle ui` starts.
    """

    project: str
    pool: str
    limit: str
    deployments: dict[str, str]
    automation: str
    api_url: str
    own_server: bool

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def text(self) -> str:
        """For people: what was made and what to do next."""
        lines = [f"{self.project} is on a schedule (UTC):"]
        lines += [f"  {name}  {when}" for name, when in self.deployments.items()]
        lines += [
            f"  automation {self.automation}: the event {DRIFT} runs the retrain",
            f"  limit {self.limit}: one retrain at a time",
            "",
        ]
        if self.own_server:
            lines.append("They run while 'fullcircle ui --worker' is up: it starts this home's server and a worker.")
        else:
            lines.append(f"They run where a worker is: prefect worker start --pool {self.pool}")
        return "\n".join(lines)


def schedule_and_print(project: Project, settings: Settings, root: Path) -> Scheduled:
    """`schedule`, connected to the configured Prefect API or to this home's own server.

    Raises:
        ServiceUnavailable: when the API does not answer.
    """
    with connect(settings):
        return schedule(project.name, settings, root, watch_every=project.watch.every)


def schedule(project: str, settings: Settings, root: Path, *, watch_every: timedelta = timedelta(days=1)) -> Scheduled:
    """Make (or set right) everything that runs a project by itself. Call it inside `connect`. Safe to call twice.

    Args:
        root: where the worker runs the flows: the folder in which the project is found by its name.
        watch_every: how often its predictions are looked at: `Watch.every` of the project.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
    from prefect.settings import PREFECT_API_URL

    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        ensure_limit(client, project)
        weekly = CronSchedule(cron=RETRAIN_CRON, timezone="UTC")
        retrain = _deploy(client, settings, root, "retrain", f"{project}-weekly", project, weekly)
        often = IntervalSchedule(interval=watch_every, anchor_date=WATCH_ANCHOR, timezone="UTC")
        _deploy(client, settings, root, "watch", f"{project}-watch", project, often)
        round_of_pages = IntervalSchedule(interval=DELIVER_EVERY, anchor_date=WATCH_ANCHOR, timezone="UTC")
        _deploy(client, settings, root, "deliver", f"{project}-deliver", project, round_of_pages)
        _forget_daily(client, project)
        automation = drift_automation(project, retrain)
        _ensure_automation(client, automation)
    return Scheduled(
        project=project,
        pool=POOL,
        limit=limit_name(project),
        deployments={
            f"retrain/{project}-weekly": f"cron {RETRAIN_CRON!r}",
            f"watch/{project}-watch": f"every {watch_every}",
            f"deliver/{project}-deliver": f"every {DELIVER_EVERY}",
        },
        automation=automation.name,
        api_url=str(PREFECT_API_URL.value()),
        own_server=settings.prefect_url is None,
    )


def drift_automation(project: str, retrain: UUID) -> AutomationCore:
    """The automation: the project's drift event runs its retrain deployment, with the event's reason."""
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    reason = {"__prefect_kind": "jinja", "template": "{{ event.payload.reason }}"}
    key = {"__prefect_kind": "jinja", "template": "{{ event.payload.key }}"}
    return AutomationCore(
        name=f"retrain-{project}-on-drift",
        description=f"A window of {project} that drifted or degraded asks for a retrain.",
        tags=["fullcircle", f"project:{project}"],
        trigger=EventTrigger(
            expect={DRIFT},
            match={"prefect.resource.id": resource_id(project)},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=retrain,
                parameters={"project": project, "reason": reason, "key": key},
                job_variables=None,
            )
        ],
        # `prefect deploy` replaces what it owns, so that prefect.yaml and this never make two of it.
        owner_resource=f"prefect.deployment.{retrain}",
    )


def _ensure_pool(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        except ObjectAlreadyExists:  # another process was faster
            client.read_work_pool(POOL)


def _deploy(
    client: SyncPrefectClient, settings: Settings, root: Path, flow: str, name: str, project: str, when: Schedule
) -> UUID:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.utilities.callables import parameter_schema

    function = getattr(load_flow(flow), flow)
    return client.create_deployment(
        client.create_flow_from_name(flow),
        name,
        # The slug makes a second call change this schedule instead of adding one.
        schedules=[DeploymentScheduleCreate(schedule=when, slug="cron")],
        parameters={"project": project},
        parameter_openapi_schema=parameter_schema(function).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        description=function.description,
        tags=["fullcircle", f"project:{project}"],
        work_pool_name=POOL,
        entrypoint=f"{flow_file(flow)}:{flow}",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(root.resolve())}}],
        # Only where home is: URLs may hold passwords, and a deployment can be read by whoever reaches the server.
        job_variables={"env": {"FULLCIRCLE_HOME": str(settings.home)}, "working_dir": str(root.resolve())},
    )


def _forget_daily(client: SyncPrefectClient, project: str) -> None:
    """The watch was called so while every project was watched daily: two of it would watch, and page, twice."""
    from prefect.exceptions import ObjectNotFound

    with contextlib.suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name(f"watch/{project}-daily").id)


def _ensure_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    unowned = wanted.model_copy()
    unowned.__pydantic_fields_set__.discard("owner_resource")  # an owner stays; an update may not name one
    client.update_automation(found[0].id, unowned)
    for doubled in found[1:]:  # two would retrain twice
        client.delete_automation(doubled.id)
