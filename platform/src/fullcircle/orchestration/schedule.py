"""A project on a schedule: deployments, the work pool, the limit, and the automation that answers a drift event."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fullcircle.core.settings import Settings
from fullcircle.orchestration.events import DRIFT, resource_id
from fullcircle.orchestration.limits import ensure_limit, limit_name
from fullcircle.orchestration.places import flow_file, load_flow

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

POOL = "fullcircle"
RETRAIN_CRON, WATCH_CRON = "0 3 * * 1", "0 5 * * *"
"""Mondays at 03:00 and each day at 05:00, UTC. The watch comes after the retrain, so that it sees the new champion."""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """What is now on the Prefect server for a project.

    Attributes:
        deployments: full name `<flow>/<deployment>` -> cron expression, UTC.
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
        lines += [f"  {name}  cron {cron!r}" for name, cron in self.deployments.items()]
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


def schedule_and_tell(project: str, settings: Settings, root: Path) -> Scheduled:
    """`schedule`, connected to the configured Prefect API or to this home's own server.

    Raises:
        ServiceUnavailable: when the API does not answer.
    """
    from fullcircle.orchestration.server import connect

    with connect(settings):
        return schedule(project, settings, root)


def schedule(project: str, settings: Settings, root: Path) -> Scheduled:
    """Make (or set right) everything that runs a project by itself. Call it inside `connect`. Safe to call twice.

    Args:
        root: where the worker runs the flows: the folder in which the project is found by its name.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        ensure_limit(client, project)
        retrain = _deploy(client, settings, root, "retrain", f"{project}-weekly", project, RETRAIN_CRON)
        _deploy(client, settings, root, "watch", f"{project}-daily", project, WATCH_CRON)
        automation = drift_automation(project, retrain)
        _ensure_automation(client, automation)
    return Scheduled(
        project=project,
        pool=POOL,
        limit=limit_name(project),
        deployments={f"retrain/{project}-weekly": RETRAIN_CRON, f"watch/{project}-daily": WATCH_CRON},
        automation=automation.name,
        api_url=str(PREFECT_API_URL.value()),
        own_server=settings.prefect_url is None,
    )


def drift_automation(project: str, retrain: UUID) -> AutomationCore:
    """The automation: the project's drift event runs its retrain deployment, with the event's reason."""
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    reason = {"__prefect_kind": "jinja", "template": "{{ event.payload.reason }}"}
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
                parameters={"project": project, "reason": reason},
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
    client: SyncPrefectClient, settings: Settings, root: Path, flow: str, name: str, project: str, cron: str
) -> UUID:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.callables import parameter_schema

    function = getattr(load_flow(flow), flow)
    return client.create_deployment(
        client.create_flow_from_name(flow),
        name,
        # The slug makes a second call change this schedule instead of adding one.
        schedules=[DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone="UTC"), slug="cron")],
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
