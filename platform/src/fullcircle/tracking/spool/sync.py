"""Uploads what is left in the spool of a home, and counts what MLflow does not have yet."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError, SpoolTooNew, TrackerAway, TrackingUnavailable
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import wait_out
from fullcircle.tracking.connection.client import address
from fullcircle.tracking.connection.connectivity import user_is_waiting
from fullcircle.tracking.spool.backlog import Backlog
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.sender import Uploader
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_dir import SpoolDir, SpoolMetadata, list_spool_dirs, remove_unbegun

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.1
_SAFE = "it is safe in the spool; 'fullcircle sync' sends it"


def open_spool(settings: Settings, about: SpoolMetadata, name: str, client: MlflowClient | None) -> Spool:
    """An open spool that sends to the settings' MLflow. Raises HomeUnwritable."""

    def backend() -> MlflowBackend:
        with user_is_waiting():  # the end of the run does; until then it is retried and again
            return MlflowBackend(settings, client)

    spool = Spool(settings, name, about, backend)
    spool.start()
    return spool


def backlog(settings: Settings) -> tuple[Backlog, ...]:
    """What the tracker does not have, the oldest first. Does not ask the tracker."""
    return tuple(each for folder in list_spool_dirs(settings) if not (each := _inspect(folder)).nothing)


def sync(settings: Settings, run_id: str | None = None) -> tuple[Backlog, ...]:
    """Send what is left in the spool by processes that ended; of one run, or of all.

    Returns:
        What is left all the same, each with why; of a run that a process writes, that process sends it.
    """
    return _sync(settings, run_id)[0]


def _sync(settings: Settings, run_id: str | None) -> tuple[tuple[Backlog, ...], TrackerAway | None]:
    """As `sync`, with what says that the tracker is away."""
    remove_unbegun(settings)
    backend: MlflowBackend | None = None
    away: TrackerAway | None = None
    left = []
    for folder in spool_dirs_of(settings, run_id):
        if _only_rejected(folder):
            left.append(_inspect(folder))
            continue
        try:
            if away is not None:  # asked once: it takes seconds to hear nothing
                raise away
            backend = backend or MlflowBackend(settings)
            found = _upload(settings, folder, backend)
        except FullcircleError as error:
            away = error if isinstance(error, TrackerAway) else None
            if not isinstance(error, SpoolTooNew):
                folder.record_error(error.what)
            found = dataclasses.replace(_inspect(folder), why=error.what)
        if found is not None:
            left.append(found)
    return tuple(left), away


def sync_run(settings: Settings, run_id: str, patience_s: float = PATIENCE_S) -> None:
    """Send what stopped processes left of a run, until its tracker has it, whoever sends it.

    Another process may hold a folder with what the run logged: one that syncs at this moment, or a child that outlived
    the process that was killed. What it will send is not with the tracker yet, and would be logged a second time.

    Raises:
        TrackerAway: the tracker is away. A patient use case waits for it.
        TrackingUnavailable: not all could be sent, or another process still holds what was not sent.
    """
    wait_out(lambda: _sync_run(settings, run_id, patience_s))


def _sync_run(settings: Settings, run_id: str, patience_s: float) -> None:
    ends = time.monotonic() + patience_s
    while True:
        found, away = _sync(settings, run_id)
        left = [each for each in found if each.why or each.owed]
        if not left:
            return
        if stuck := [each for each in left if each.why and not each.writing]:
            if away is not None:
                raise TrackerAway(f"{stuck[0]}", hint=_SAFE, whom=away.whom, why=away.why, worth_s=away.worth_s)
            raise TrackingUnavailable(f"{stuck[0]}", hint="'fullcircle sync' says what stands in the way")
        if time.monotonic() >= ends:
            raise TrackingUnavailable(
                f"{left[0]}: another process holds {left[0].folder}", hint="wait for that process, or end it"
            )
        time.sleep(LOOK_EVERY_S)


def spool_dirs_of(settings: Settings, run_id: str | None) -> Iterator[SpoolDir]:
    """The folders of a run, by its id or the one under which it began, or of all; the oldest first."""
    for folder in list_spool_dirs(settings):
        if run_id is None:
            yield folder
            continue
        try:
            about = folder.metadata()
        except FullcircleError:
            continue
        if run_id in (about.run_id, about.key, folder.id):
            yield folder


def require_its_tracker(settings: Settings, about: SpoolMetadata) -> None:
    """Raises TrackingUnavailable when the settings' tracker is not the one that the run is of."""
    if about.tracker != address(settings):
        said = f"run {about.key} is of the tracker {about.tracker}, not {address(settings)}"
        raise TrackingUnavailable(f"{said}: set MLFLOW_TRACKING_URI to the first")


def _upload(settings: Settings, folder: SpoolDir, backend: MlflowBackend) -> Backlog | None:
    """Send one folder; None when nothing is left of it, and it was removed."""
    about = folder.metadata()
    with folder.lock() as ours:
        if not ours:
            return None if not folder.path.exists() else _inspect(folder)
        require_its_tracker(settings, about)
        uploader = Uploader(folder, backend, sealed=True)
        try:
            while uploader.step():
                pass
        except OSError as error:
            raise TrackingUnavailable(f"the spool of run {about.key} cannot be read: {error}") from error
        folder.record_error("")
        if not (folder.damaged() or folder.rejected()):
            folder.remove()
            return None
    return _inspect(folder)


def _only_rejected(folder: SpoolDir) -> bool:
    """Whether nothing is there but what was left out: for that no tracker is asked."""
    try:
        return bool(folder.rejected()) and folder.drained and not folder.last_error()
    except OSError:
        return False


def _inspect(folder: SpoolDir) -> Backlog:
    try:
        return folder.backlog()
    except FullcircleError as error:
        return Backlog(
            run=folder.id,
            folder=str(folder.path),
            begun=False,
            points=0,
            artifacts=0,
            entries=0,
            since=0.0,
            why=error.what,
            damaged=(),
            writing=False,
        )
