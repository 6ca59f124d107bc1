"""Trigger of a flow run's retrain (schedule, event or hand) and its idempotency key."""

from __future__ import annotations

from fullcircle.loop.retraining.retrain_budget import RetrainTrigger
from fullcircle.store.retrain_requests import RetrainSource


def retrain_trigger(key: str | None) -> RetrainTrigger:
    """Of the flow run that this is called in: an event where there is a key, a schedule in a deployment, else a hand.

    A scheduled run is known by the moment for which it was scheduled: run again, by Prefect or by somebody, it is the
    same request.
    """
    from prefect.runtime import deployment, flow_run

    if key:
        return RetrainTrigger(RetrainSource.EVENT, key)
    if deployment.id is None:
        return RetrainTrigger()
    return RetrainTrigger(
        RetrainSource.SCHEDULE, f"schedule:{deployment.id}:{flow_run.scheduled_start_time.isoformat()}"
    )
