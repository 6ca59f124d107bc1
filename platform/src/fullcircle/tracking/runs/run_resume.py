"""Resumes a run that stopped before its end: which runs may be resumed, and which points they have already."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.errors import UsageError
from fullcircle.core.records.training import RunRef
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import process_mark
from fullcircle.tracking.connection.client import address, translated
from fullcircle.tracking.provenance.run_provenance import host
from fullcircle.tracking.runs.metrics import MetricDedup
from fullcircle.tracking.runs.run_schema import COMMIT, DIRTY
from fullcircle.tracking.runs.run_tags import BEGAN_AS, PROCESS, known, packed, process_of
from fullcircle.tracking.runs.run_writer import FAILURE, PAUSED, PREEMPTED, RunWriter
from fullcircle.tracking.runs.system_metrics import last_sample
from fullcircle.tracking.spool.spool_dir import SpoolMetadata
from fullcircle.tracking.spool.sync import open_spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

QUIET_S = 120.0
"""A running run of another machine that logged nothing for so long has no process any more: the load of a machine is
logged every few seconds."""

FEW = 1000
"""A metric whose last step is below this is read in full when its run is opened again: an epoch's, or a trial's."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run as a list of runs shows it.

    Attributes:
        tags: under the names of today, whichever version wrote them.
        status: MLflow's word: RUNNING, FINISHED, FAILED, KILLED, or SCHEDULED for a preempted one.
        started_s: seconds since the epoch.
    """

    run_id: str
    name: str
    status: str
    started_s: float
    tags: Mapping[str, str]

    @property
    def key(self) -> str:
        """What the run was called by the process that began it: its id, or, if the tracking server was away then, the
        name of its spool. Its files on this machine are kept under it."""
        return self.tags.get(BEGAN_AS, self.run_id)

    @property
    def preempted(self) -> bool:
        """Whether it was asked to stop and waits to be resumed."""
        return self.status == PAUSED and PREEMPTED in self.tags

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "FINISHED"


def state(run: MlflowRun) -> RunState:
    """What MLflow says of a run, as ours."""
    return RunState(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started_s=(run.info.start_time or 0) / 1000,
        tags=known(run.data.tags),
    )


def process_tags() -> dict[str, str]:
    """The tag that names this process as the one that writes a run."""
    return {PROCESS: packed({"host": host(), "pid": str(os.getpid()), "mark": process_mark(os.getpid())})}


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process on this machine that wrote a run with these tags is gone; False for another machine's."""
    process = process_of(tags)
    pid = process.get("pid", "")
    if process.get("host") != host() or not pid.isdigit():
        return False
    return process_mark(int(pid)) != process.get("mark")


def refuse_unless_stopped(run: MlflowRun) -> None:
    """Raises UsageError for a run that came to its end, or whose process is still at work."""
    name = f"run {run.info.run_id}"
    if run.info.status == "FINISHED":
        raise UsageError(f"{name} is finished; there is nothing to resume", hint="train again for another run")
    if run.info.status != "RUNNING" or is_gone(run.data.tags):
        return
    writer = process_of(run.data.tags)
    where = writer.get("host", "?")
    if where == host() or time.time() - _last_sign_s(run) < QUIET_S:
        process = f"process {writer.get('pid', '?')} on {where}"
        raise UsageError(f"{name} is still running ({process})", hint="end that process first, or wait for it")


def reopen(client: MlflowClient, settings: Settings, found: MlflowRun) -> RunWriter:
    """The run as RUNNING again, written by this process, its failure forgotten, its points known."""
    run_id, tags = found.info.run_id, found.data.tags
    with translated(settings, f"resuming run {run_id}"):
        had = _had(client, found)
        for name in (PREEMPTED, FAILURE):
            if name in tags:
                client.delete_tag(run_id, name)
        times = int(tags.get("fullcircle.resumes", "0")) + 1
        for key, value in {**process_tags(), "fullcircle.resumes": str(times)}.items():
            client.set_tag(run_id, key, value)
        client.update_run(run_id, status="RUNNING")
    now_ms = time.time_ns() // 1_000_000
    about = SpoolMetadata(tracker=address(settings), run_id=run_id, key=run_id, begin=None, made_ms=now_ms)
    run = RunWriter(
        client,
        settings,
        run_id,
        found.info.experiment_id,
        spool=open_spool(settings, about, uuid.uuid4().hex, client),
        ref=ref(found),
        begun_ms=found.info.start_time or now_ms,
        had=lambda: had,
        params=dict(found.data.params),
        key=state(found).key,
    )
    try:
        run.watch_machine(after=last_sample(last_steps(found)))
    except BaseException as error:
        run.__exit__(type(error), error, None)
        raise
    return run


def give_up(client: MlflowClient, settings: Settings, run_id: str, why: str) -> None:
    """End a stopped run as KILLED, with the reason: nobody will resume it."""
    with translated(settings, f"ending run {run_id}"):
        if PREEMPTED in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, PREEMPTED)
        client.set_tag(run_id, FAILURE, why)
        client.set_terminated(run_id, "KILLED")


def ref(run: MlflowRun) -> RunRef:
    """Where a run came from, from its tags."""
    tags = run.data.tags
    return RunRef(
        run_id=run.info.run_id,
        framework=tags.get("fullcircle.framework", ""),
        seed=0,
        commit=tags.get(COMMIT, ""),
        dirty=tags.get(DIRTY) == "true",
        environment="",  # an artifact has it, which is read when it is asked for
    )


def last_steps(run: MlflowRun) -> dict[str, int]:
    """The last step of each metric of a run."""
    return {metric.key: metric.step for metric in run.data._metric_objs}


def _had(client: MlflowClient, run: MlflowRun) -> MetricDedup:
    """The points of the run, of which there may be a month's: where they are few and need not ascend, each of them."""
    last = last_steps(run)
    few = [key for key, step in last.items() if 0 < step < FEW and not key.startswith(("system/", "rank/"))]
    return MetricDedup(
        last, {key: {point.step for point in client.get_metric_history(run.info.run_id, key)} for key in few}
    )


def _last_sign_s(run: MlflowRun) -> float:
    stamps = [metric.timestamp for metric in run.data._metric_objs]
    return max([run.info.start_time or 0, *stamps]) / 1000
