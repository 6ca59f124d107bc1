"""A rollback that was decided happens where the policy says so, else on-call has the command: on a real registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fullcircle.core.project import Policy, Project
from fullcircle.core.records.health import Health, Rollback, Window
from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.core.records.ledger_entries import Action
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.loop.promotion.automatic_rollback import apply_rollback
from fullcircle.loop.promotion.release import release
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.tracking.registry.model_registry import Registry

WHY = "version 1 has a ROC AUC +0.0500 [+0.0300, +0.0700] higher on the same 1000 labelled rows"
DECISION = Rollback(to="1", reason=WHY)
AUTOMATIC = Policy(auto_rollback=True)
Make = Callable[..., ModelVersion]


@pytest.fixture
def health(project: Project, settings: Settings, make: Make) -> Health:
    """Version 2 serves, was judged, and a rollback to version 1 was recorded."""
    for _ in range(2):
        release(project, Workspace(settings), make(), reason="better", decided_by="gate")
    start, end = datetime(2013, 6, 1, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)
    window = Window(project=project.name, start=start, end=end, rows=1000, labelled=1000, versions=("2",))
    Decisions(Database(settings)).record(project.name, window.name, DECISION, at=end, evidence={"champion": "2"})
    return Health(
        window=window,
        champion_version="2",
        columns=(),
        prediction=None,
        quality=(),
        performance=None,
        drifted_share_limit=0.5,
    )


def carried(project: Project, settings: Settings, health: Health) -> tuple[Incident, ...]:
    return apply_rollback(project, Workspace(settings), health, DECISION, {})


def serving(project: Project, settings: Settings) -> str:
    found = Registry(settings).alias(project.name, CHAMPION)
    assert found is not None
    return found.version


def rollbacks(project: Project, settings: Settings) -> int:
    return sum(entry.action is Action.ROLLBACK for entry in Ledger(Database(settings)).entries(project.name))


def test_where_the_policy_says_so_it_is_made_once_however_often_the_window_is_watched(
    project: Project, settings: Settings, health: Health
) -> None:
    automatic = dataclasses.replace(project, policy=AUTOMATIC)
    (first,) = carried(automatic, settings, health)
    assert (serving(project, settings), rollbacks(project, settings)) == ("1", 1)
    (again,) = carried(automatic, settings, dataclasses.replace(health, champion_version="1"))
    assert again == dataclasses.replace(first, evidence=again.evidence)
    assert rollbacks(project, settings) == 1
    assert first.title == f"{project.name}: rolled back from version 2 to version 1"
    assert (first.severity, first.evidence["why"]) == (Severity.WARNING, WHY)
    assert Ledger(Database(settings)).entries(project.name)[-1].why == WHY


@pytest.mark.parametrize("change", [{"policy": Policy()}, {"policy": AUTOMATIC, "approval": "human"}])
def test_else_on_call_is_given_the_command_and_nothing_is_changed(
    change: dict[str, object], project: Project, settings: Settings, health: Health
) -> None:
    (incident,) = carried(dataclasses.replace(project, **change), settings, health)  # type: ignore[arg-type]
    assert (serving(project, settings), rollbacks(project, settings)) == ("2", 0)
    assert incident.severity is Severity.CRITICAL
    assert incident.title == f"{project.name}: version 1 would do better than version 2, which serves"
    assert incident.evidence["to roll back"].startswith(f"fullcircle rollback {project.name} --reason ")


def test_a_previous_champion_that_does_not_load_stays_where_it_is_and_on_call_is_told_why(
    project: Project, settings: Settings, health: Health
) -> None:
    registry = Registry(settings)
    damaged = registry.graph(registry.version(project.name, "1"))
    damaged.write_bytes(b"no graph")
    for kept in settings.folder("mlartifacts", project.name).rglob("*.onnx"):
        kept.write_bytes(b"no graph")
    (incident,) = carried(dataclasses.replace(project, policy=AUTOMATIC), settings, health)
    assert (serving(project, settings), rollbacks(project, settings)) == ("2", 0)
    assert incident.title == f"{project.name}: the rollback to version 1 failed"
    assert "digest" in incident.evidence["failed"]
    assert "to roll back" in incident.evidence


@pytest.mark.parametrize("policy", [AUTOMATIC, Policy()])
def test_once_another_version_serves_nothing_is_rolled_back_and_nobody_is_paged(
    policy: Policy, project: Project, settings: Settings, health: Health, make: Make
) -> None:
    release(project, Workspace(settings), make(), reason="newer", decided_by="gate")
    assert carried(dataclasses.replace(project, policy=policy), settings, health) == ()
    assert (serving(project, settings), rollbacks(project, settings)) == ("3", 0)
