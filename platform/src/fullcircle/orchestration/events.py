"""Events that Prefect's automations listen to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fullcircle.core.records.health import Performance
from fullcircle.loop.retraining.retrain_budget import window_key

if TYPE_CHECKING:
    from fullcircle.core.records.health import Health

DRIFT = "fullcircle.drift.detected"
"""A watched window asks for a retrain. `schedule` makes an automation that answers it."""


def resource_id(project: str) -> str:
    """The resource that a project's events are about."""
    return f"fullcircle.project.{project}"


def emit_drift(project: str, health: Mapping[str, Any]) -> None:
    """Say that a project's window drifted or degraded so far that its policy asks for a retrain.

    Args:
        health: what was seen, JSON values only (see `summary`); its `reason` becomes the retrain's reason.

    The event is a fast path and may be lost with the server: the decision itself is in the platform's database.
    """
    from prefect.events import emit_event

    emit_event(
        event=DRIFT,
        resource={
            "prefect.resource.id": resource_id(project),
            "prefect.resource.name": project,
            "fullcircle.project": project,
        },
        payload={"reason": "drift", "key": f"event:{uuid.uuid4().hex}", **health},
    )


def realised(performance: Performance) -> dict[str, float | None]:
    """The primary metric and what was expected of it: `roc_auc`, `expected_roc_auc`."""
    return {performance.primary: performance.score.value, f"expected_{performance.primary}": performance.expected}


def summary(health: Health, reason: str) -> dict[str, Any]:
    """A window's health as the JSON values of an event."""
    performance = health.performance
    return {
        "reason": reason,
        "window": health.window.name,
        "key": window_key(health.window.name),
        "rows": health.window.rows,
        "champion": health.champion_version,
        "drifted": list(health.drifted[:20]),
        "drifted_share": health.drifted_share,
        **(realised(performance) if performance else {}),
    }
