"""Reschedules a preempted flow run: the next scheduled one may be a week away."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from fullcircle.core.errors import Preempted

AFTER = timedelta(minutes=1)
"""By then the process that was told to stop is gone, and with it the machine that goes away."""

log = logging.getLogger("fullcircle")


@contextlib.contextmanager
def reschedule_if_preempted() -> Iterator[None]:
    """Within a flow: a preemption in this block schedules one more run of the same deployment, with the same
    parameters. A flow that was started by hand has no deployment; whoever started it reads how to go on."""
    try:
        yield
    except Preempted:
        try:
            _reschedule()
        except Exception as error:  # noqa: BLE001 - whatever it is, the preemption matters more
            log.warning("no run that goes on was scheduled (%s); the next scheduled one goes on", error)
        raise


def _reschedule() -> None:
    from prefect.deployments import run_deployment
    from prefect.runtime import deployment, flow_run

    if deployment.id is None:
        return
    run_deployment(
        name=deployment.id,
        parameters=dict(flow_run.parameters),
        scheduled_time=datetime.now(UTC) + AFTER,
        timeout=0,
        as_subflow=False,
        idempotency_key=f"again-{flow_run.id}",
    )
