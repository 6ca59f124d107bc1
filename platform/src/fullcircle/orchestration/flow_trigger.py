"""Trigger of a flow run's retrain (schedule, event or hand) and its idempotency key."""

from __future__ import annotations

from fullcircle.loop.budget import Asked
from fullcircle.store.retrain_requests import RetrainSource


def retrain_trigger(key: str | None) -> Asked:
    """Of the flow run that this is called in: an event where there is a key, a schedule in a deployment, else a hand.

    A scheduled run is known by the moment for which it was scheduled: run again, by Prefect or by somebody, it is the
    same request.
    """
    from prefect.runtime import deployment, flow_run

    if key:
        return Asked(RetrainSource.EVENT, key)
    if deployment.id is None:
        return Asked()
    return Asked(RetrainSource.SCHEDULE, f"schedule:{deployment.id}:{flow_run.scheduled_start_time.isoformat()}")
