"""What is logged to a run that has ended: through a spool of its own, until MLflow has it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fullcircle.core.errors import TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import is_patient, wait_out
from fullcircle.tracking.connection.client import address
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_dir import SpoolMetadata
from fullcircle.tracking.spool.sync import sync_run

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextlib.contextmanager
def appended(settings: Settings, client: MlflowClient | None, run_id: str) -> Iterator[Spool]:
    """A spool whose content MLflow has when the block ends.

    Raises:
        UsageError: MLflow refuses what was logged for good.
        TrackingUnavailable: it waits in the spool; a patient use case has waited for the tracker.
    """
    about = SpoolMetadata(
        tracker=address(settings),
        run_id=run_id,
        key=run_id,
        begin=None,
        made_ms=time.time_ns() // 1_000_000,
    )
    spool = Spool(settings, uuid.uuid4().hex, about, lambda: MlflowBackend(settings, client))
    spool.start()
    try:
        yield spool
    finally:
        left = spool.close()
    if left is not None:
        if isinstance(spool.error, UsageError):  # refused: nothing to be sent later
            spool.folder.remove()
            raise spool.error
        if isinstance(spool.error, TrackerAway) and is_patient():
            wait_out(lambda: sync_run(settings, run_id))
            return
        raise TrackingUnavailable(f"{left}", hint="it is safe in the spool; 'fullcircle sync' sends it")
