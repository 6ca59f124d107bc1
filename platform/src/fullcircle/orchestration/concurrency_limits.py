"""Concurrency limit of one retrain a project, and cleanup of flow runs that were killed.

Prefect's own answer to a killed holder is to wait until its lease runs out, and a killed run stays Running for ever.
So each flow run writes down which process it is; whoever comes next on the same machine looks whether that process
lives, gives its slot back, and marks the run as crashed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from fullcircle.core.settings import Settings
from fullcircle.core.system.files import write_whole
from fullcircle.core.system.processes import started_ticks
from fullcircle.loop import progress

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LEASE_S = 60.0
"""How long a slot outlives a holder that died on another machine: the shortest that Prefect allows."""


def limit_name(project: str) -> str:
    """The name of the global concurrency limit on retrains of a project."""
    return f"retrain-{project}"


@contextlib.contextmanager
def one_retrain(project: str, settings: Settings) -> Iterator[None]:
    """Within this block no other flow run retrains the project: the others wait. Inside a flow run only.

    The limit is made if it is missing; the slot is given back however the block ends.
    """
    from prefect.client.schemas.objects import ConcurrencyLeaseHolder
    from prefect.concurrency.sync import concurrency
    from prefect.runtime import flow_run

    run_id = UUID(str(flow_run.id))
    with _client() as client:
        ensure_limit(client, project)
        for sentence in clear_killed_runs(client, settings):
            progress.current().note(sentence)
        if client.read_global_concurrency_limit_by_name(limit_name(project)).active_slots:
            progress.current().note(f"another retrain of {project} is running: waiting for it")
    with (
        _written_down(run_id, settings),
        concurrency(
            limit_name(project),
            lease_duration=LEASE_S,
            strict=True,
            # A server that is away for a moment must not cost a training; releases are safe by themselves.
            raise_on_lease_renewal_failure=False,
            holder=ConcurrencyLeaseHolder(type="flow_run", id=run_id),
        ),
    ):
        yield


def ensure_limit(client: SyncPrefectClient, project: str) -> None:
    """Make the limit of one if it is missing. A limit that somebody changed is set back to one."""
    from prefect.exceptions import ObjectAlreadyExists

    with contextlib.suppress(ObjectAlreadyExists):  # another process was faster
        client.upsert_global_concurrency_limit_by_name(limit_name(project), limit=1)


def clear_killed_runs(client: SyncPrefectClient, settings: Settings) -> tuple[str, ...]:
    """Give back the slots of flow runs whose process died on this machine, and mark those runs as crashed.

    Returns:
        A sentence for each run that was settled. Safe to call twice and by several processes.
    """
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    said = []
    for file in sorted(_folder(settings).glob("*.json")):
        process = _read(file)
        if process.get("host") != socket.gethostname() or _is_alive(process):
            continue
        run_id = UUID(file.stem)
        for lease_id in _leases_of(run_id, settings):
            with contextlib.suppress(ObjectNotFound):
                client.release_concurrency_slots_with_lease(lease_id)
        with contextlib.suppress(ObjectNotFound):
            state = client.read_flow_run(run_id).state
            if state is None or not state.is_final():
                client.set_flow_run_state(run_id, Crashed(message="its process was killed"), force=True)
                said.append(f"flow run {run_id} was cut short: its process {process.get('pid')} is gone")
        file.unlink(missing_ok=True)
    return tuple(said)


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@contextlib.contextmanager
def _written_down(run_id: UUID, settings: Settings) -> Iterator[None]:
    file = _folder(settings) / f"{run_id}.json"
    own = {"host": socket.gethostname(), "pid": os.getpid(), "started": str(started_ticks(os.getpid()))}
    write_whole(file, json.dumps(own))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    return settings.folder("prefect", "flow-runs")


def _read(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _leases_of(run_id: UUID, settings: Settings) -> Iterator[UUID]:
    """Leases that a run holds, as the local server keeps them; none where the server is elsewhere: they run out."""
    for file in settings.folder("prefect", "concurrency_leases").glob("*.json"):
        lease = _read(file)
        metadata = lease.get("metadata")
        holder = metadata.get("holder") if isinstance(metadata, dict) else None
        if isinstance(holder, dict) and holder.get("id") == str(run_id):
            yield UUID(str(lease["id"]))


def _is_alive(process: dict[str, object]) -> bool:
    pid = process.get("pid")
    ticks = started_ticks(pid) if isinstance(pid, int) else None
    return ticks is not None and str(ticks) == process.get("started")
