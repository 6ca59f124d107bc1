"""TensorBoard for a run: fetches its event files and profiler traces and serves them on loopback."""

from __future__ import annotations

import sys
from pathlib import Path

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.security.access import reached_at, require_safe
from fullcircle.core.system.processes import Service, free_port
from fullcircle.loop.training_runs.run_training import PROFILE, TENSORBOARD
from fullcircle.loop.workspace import Workspace
from fullcircle.training.telemetry.tensorboard import require_tensorboard


def event_files(workspace: Workspace, reference: str) -> Path:
    """The folder that TensorBoard is to show: the run's event files and traces, fetched.

    Raises:
        UsageError: no such run, or one that has neither.
    """
    run_store = workspace.run_store
    run_id = run_store.find(reference)
    fetched = []
    for name in (TENSORBOARD, PROFILE):
        try:
            fetched.append(run_store.download(run_id, name))
        except DataUnavailable:
            continue
    if not fetched:
        raise UsageError(
            f"run {run_id} has no TensorBoard files", hint="train with --tensorboard, or with --profile for a trace"
        )
    return Path(fetched[0]).parent


def tensorboard(workspace: Workspace, reference: str, port: int | None = None) -> tuple[Service, str]:
    """TensorBoard over a run's files, not yet started, and its address. Use the service as a context manager.

    Args:
        port: None: any that is free.

    Raises:
        UsageError: as `event_files`, or TensorBoard is not installed, or it would listen where others reach it.
    """
    require_tensorboard()
    require_safe(workspace.settings.access(), "TensorBoard", knows_tokens=False)
    folder, port = event_files(workspace, reference), port or free_port(workspace.settings.host)
    url = f"http://{reached_at(workspace.settings.host, port)}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--load_fast", "false"]
    service = Service(
        name="TensorBoard",
        command=[*command, "--host", workspace.settings.host, "--port", str(port)],
        ready_url=url,
        log=workspace.settings.folder("logs") / "tensorboard.log",
    )
    return service, url
