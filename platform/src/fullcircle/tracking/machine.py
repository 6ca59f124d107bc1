"""The load of a machine (processor, memory, disk, network, GPU) as metrics of a run, under the machine's own name."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fullcircle.core.settings import Settings
from fullcircle.tracking.provenance import host

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

SAMPLE_EVERY_S = 5.0
"""How often the machine's load is sampled."""


class Load:
    """Samples this machine's load into a run from `start` to `stop`, as `system/<node>/cpu_utilization_percentage`
    and so on. A run that is gone on with goes on with the steps of its samples, too."""

    def __init__(self, run_id: str, settings: Settings, node: str | None = None) -> None:
        self._run_id = run_id
        self._settings = settings
        self._node = node or node_name()
        self._monitor: SystemMetricsMonitor | None = None

    def start(self, *, again: bool = False) -> None:
        """Begin to sample in a thread; `again`: after the last sample that the run has."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
        self._monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self._run_id,
            sampling_interval=SAMPLE_EVERY_S,
            resume_logging=again,
            node_id=self._node,
            tracking_uri=self._settings.tracking_uri,
        )
        self._monitor.start()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Stop, with one last sample. Safe to call twice; never raises: the load is never worth a run."""
        monitor, self._monitor = self._monitor, None
        if monitor is None:
            return
        with contextlib.suppress(Exception):
            monitor.finish()  # type: ignore[no-untyped-call]
            # A run shorter than the sampling interval would show nothing.
            monitor.collect_metrics()  # type: ignore[no-untyped-call]
            latest = monitor.aggregate_metrics()  # type: ignore[no-untyped-call]
            monitor.publish_metrics(latest)  # type: ignore[no-untyped-call]
            monitor.mlflow_logger.flush()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def watch(run_id: str, settings: Settings, node: str | None = None) -> Iterator[None]:
    """Sample this machine's load into the run while the block runs, whatever else writes that run.

    For the first process of a node; does nothing on the node that started the run, which is watched from there.

    Raises:
        TrackingUnavailable: MLflow does not answer from here.
    """
    from fullcircle.tracking.client import connect, translated

    client = connect(settings)
    with translated(settings, f"reading run {run_id}"):
        tags = client.get_run(run_id).data.tags
    if node is None and tags.get("fullcircle.host") == host():
        yield
        return
    load = Load(run_id, settings, node)
    load.start(again=True)
    try:
        yield
    finally:
        load.stop()


def node_name() -> str:
    """This machine's name in the characters that MLflow takes for a metric's."""
    return re.sub(r"[^\w.-]", "-", host()) or "node"
