"""Starts a run with its provenance: on the server at once, or in the spool while the server is away."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from fullcircle.core.errors import TrackerAway
from fullcircle.core.project import Project
from fullcircle.core.records.training import RunRef
from fullcircle.core.security.identity import system_user
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import impatient
from fullcircle.tracking.connection.client import address
from fullcircle.tracking.provenance.origin import document
from fullcircle.tracking.provenance.run_provenance import Provenance, program, provenance
from fullcircle.tracking.runs.experiments import experiment_tags
from fullcircle.tracking.runs.run_resume import process_tags
from fullcircle.tracking.runs.run_schema import (
    BRANCH,
    COMMIT,
    DIFF,
    DIRTY,
    MASKED,
    MASKED_TAG,
    NOT_KEPT,
    NOTE,
    PROVENANCE,
    REQUIREMENTS,
)
from fullcircle.tracking.runs.run_tags import BEGAN_AS, SPOOL
from fullcircle.tracking.runs.run_writer import RunWriter
from fullcircle.tracking.secrets.detection import summary, without_secrets
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolMetadata
from fullcircle.tracking.spool.sync import open_spool

if TYPE_CHECKING:
    from mlflow import MlflowClient


def start(
    project: Project, settings: Settings, connected: Callable[[], MlflowClient], *, name: str, tags: Mapping[str, str]
) -> RunWriter:
    """A new run of the project, open in this process.

    Args:
        connected: a client on the settings' MLflow. Raises as `tracking.connection.client.connect`.
        tags: beside those that say where the run came from.

    Raises:
        UsageError, TrackingUnavailable: as `RunStore.start`.
        HomeUnwritable: its spool cannot be written.
    """
    origin, now_ms, spool_id = provenance(project.folder), time.time_ns() // 1_000_000, uuid.uuid4().hex
    begin = NewRun(
        experiment=project.name,
        experiment_tags=experiment_tags(project),
        name=name,
        tags=without_secrets({**_origin_tags(origin), **tags}),
        started_ms=now_ms,
    )
    client: MlflowClient | None = None
    run_id, experiment, key = None, "", spool_id
    try:
        with impatient():  # it can begin without the tracker
            client = connected()
            run_id, experiment = MlflowBackend(settings, client).create_new_run(begin, spool_id)
        key = run_id
    except TrackerAway:
        client = None
    about = SpoolMetadata(tracker=address(settings), run_id=run_id, key=key, begin=begin, made_ms=now_ms)
    spool = open_spool(settings, about, spool_id, client)
    run = RunWriter(client, settings, key, experiment, spool=spool, ref=_ref(key, origin), begun_ms=now_ms)
    try:
        if run_id is None:
            run.tags({BEGAN_AS: key})
        keep(origin, run, {**begin.tags, SPOOL: spool_id}, now_ms)
        run.watch_machine()
    except BaseException as error:
        run.__exit__(type(error), error, None)
        raise
    return run


def keep(origin: Provenance, run: RunWriter, tags: Mapping[str, str], began_ms: int) -> None:
    """Beside its tags, with which it was made, what it takes to do the run again. Last of all the artifact that says
    that the others are there."""
    run.text(origin.requirements, REQUIREMENTS)
    if origin.diff:
        run.patch(origin.diff, DIFF)
    if origin.not_kept:
        run.json(origin.not_kept, NOT_KEPT)
    if origin.masked:
        run.json(origin.masked, MASKED)
        _say(f"masked in what is kept of the uncommitted changes: {summary(origin.masked)}")
    began = datetime.fromtimestamp(began_ms / 1000, UTC).isoformat(timespec="seconds")
    run.patch(json.dumps(document(origin, tags, began=began), indent=1, ensure_ascii=False), PROVENANCE)
    for note in origin.notes:
        _say(note)


@lru_cache(maxsize=256)
def _say(sentence: str) -> None:
    """Once a process: a retrain has several runs of the same code."""
    logging.getLogger("fullcircle").warning("fullcircle: %s", sentence)


def _origin_tags(origin: Provenance) -> dict[str, str]:
    tags = {
        "mlflow.user": system_user(),
        "mlflow.source.name": program(),
        "mlflow.source.type": "LOCAL",
        **process_tags(),
    }
    if origin.commit:
        tags |= {COMMIT: origin.commit, DIRTY: str(origin.dirty).lower()}
    if origin.masked:
        tags[MASKED_TAG] = summary(origin.masked)
    if origin.notes:
        tags[NOTE] = "; ".join(origin.notes)
    if origin.branch:
        tags[BRANCH] = origin.branch
    return tags


def _ref(run_id: str, origin: Provenance) -> RunRef:
    return RunRef(
        run_id=run_id,
        framework="",
        seed=0,
        commit=origin.commit,
        dirty=origin.dirty,
        environment=origin.environment,
    )
