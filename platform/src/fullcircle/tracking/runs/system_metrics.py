"""System metrics of a run: CPU, memory, disk, network and GPU of this machine, under its name."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import address, connect, translated
from fullcircle.tracking.provenance.run_provenance import host
from fullcircle.tracking.runs.run_tags import process_of
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_dir import SpoolMetadata

SAMPLE_EVERY_S = 5.0
"""How often the machine's load is sampled."""


class _Monitor(Protocol):
    def collect_metrics(self) -> None: ...
    def aggregate_metrics(self) -> dict[str, float]: ...
    def clear_metrics(self) -> None: ...


class SystemMonitor:
    """Samples this machine's load from `start` to `stop`, as `system/<node>/cpu_utilization_percentage` and so on.

    Args:
        log: takes metrics and their step.
        begun_s: when the run began, in seconds since the epoch. A sample's step is the seconds since then, so that a
            run that is gone on with, on whatever machine, has no step twice.
        after: the last step of samples that the run has already.
    """

    def __init__(
        self,
        log: Callable[[dict[str, float], int], None],
        begun_s: float,
        node: str | None = None,
        *,
        after: int = -1,
    ) -> None:
        self._log = log
        self._begun_s = begun_s
        self._prefix = f"system/{node or node_name()}/"
        self._monitors: list[_Monitor] = []
        self._step = after
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to sample in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, with one last sample. Safe to call twice; never raises: the load is never worth a run."""
        if self._ended.is_set():
            return
        self._ended.set()
        with contextlib.suppress(Exception):
            self._thread.join()
            # A run shorter than the sampling interval would show nothing.
            self._sample()

    def _run(self) -> None:
        with contextlib.suppress(Exception):
            self._monitors = _monitors()
            while not self._ended.wait(SAMPLE_EVERY_S):
                self._sample()

    def _sample(self) -> None:
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        self._step = max(self._step + 1, int(time.time() - self._begun_s))
        self._log({self._prefix + key: float(value) for key, value in values.items()}, self._step)


@contextlib.contextmanager
def monitor_node(run_id: str, settings: Settings, node: str | None = None) -> Iterator[None]:
    """Sample this machine's load into the run while the block runs, whatever else writes that run.

    For the first process of a node; does nothing on the node that started the run, which is watched from there.

    Raises:
        TrackingUnavailable: MLflow does not answer from here.
    """
    client = connect(settings)
    with translated(settings, f"reading run {run_id}"):
        run = client.get_run(run_id)
    if node is None and process_of(run.data.tags).get("host") == host():
        yield
        return
    now_ms = time.time_ns() // 1_000_000
    about = SpoolMetadata(tracker=address(settings), run_id=run_id, key=run_id, begin=None, made_ms=now_ms)
    spool = Spool(settings, uuid.uuid4().hex, about, lambda: MlflowBackend(settings, client))
    spool.start()
    begun_s = (run.info.start_time or now_ms) / 1000
    monitor = SystemMonitor(
        spool.points, begun_s, node, after=last_sample({m.key: m.step for m in run.data._metric_objs})
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.stop()
        spool.close()


def last_sample(steps: Mapping[str, int]) -> int:
    """The last step of a machine's load in a run, whose metrics have these last steps; -1 when there is none."""
    return max([-1, *(step for key, step in steps.items() if key.startswith("system/"))])


def node_name() -> str:
    """This machine's name in the characters that MLflow takes for a metric's."""
    return re.sub(r"[^\w.-]", "-", host()) or "node"


def _monitors() -> list[_Monitor]:
    """MLflow's own measures without its logger, which sends past the spool and gives up when the server is away."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    kinds: list[Callable[[], _Monitor]] = [CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor]
    found = []
    for kind in kinds:
        with contextlib.suppress(Exception):  # no GPU of NVIDIA's, or not its library
            found.append(kind())
    return found
