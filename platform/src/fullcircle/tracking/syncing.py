"""What is in the spool of a home and not with the tracker: counted, and sent."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError, SpoolTooNew, TrackerAway, TrackingUnavailable
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import outlast
from fullcircle.tracking.client import address
from fullcircle.tracking.reaching import somebody_waits
from fullcircle.tracking.spool.courier import Courier
from fullcircle.tracking.spool.delivery import MlflowDoor
from fullcircle.tracking.spool.folder import About, Folder, Unsent, folders
from fullcircle.tracking.spool.spool import Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.1
_SAFE = "it is safe in the spool; 'fullcircle sync' sends it"


def opened(settings: Settings, about: About, name: str, client: MlflowClient | None) -> Spool:
    """An open spool that sends to the settings' MLflow. Raises HomeUnwritable."""

    def door() -> MlflowDoor:
        with somebody_waits():  # the end of the run does; until then it is asked again and again
            return MlflowDoor(settings, client)

    spool = Spool(settings, name, about, door)
    spool.start()
    return spool


def unsent(settings: Settings) -> tuple[Unsent, ...]:
    """What the tracker does not have, the oldest first. Does not ask the tracker."""
    return tuple(each for folder in folders(settings) if not (each := _looked_at(folder)).nothing)


def sync(settings: Settings, run_id: str | None = None) -> tuple[Unsent, ...]:
    """Send what is left in the spool by processes that ended; of one run, or of all.

    Returns:
        What is left all the same, each with why; of a run that a process writes, that process sends it.
    """
    return _synced(settings, run_id)[0]


def _synced(settings: Settings, run_id: str | None) -> tuple[tuple[Unsent, ...], TrackerAway | None]:
    """As `sync`, with what says that the tracker is away."""
    door: MlflowDoor | None = None
    away: TrackerAway | None = None
    left = []
    for folder in of_run(settings, run_id):
        if _only_kept(folder):
            left.append(_looked_at(folder))
            continue
        try:
            if away is not None:  # asked once: it takes seconds to hear nothing
                raise away
            door = door or MlflowDoor(settings)
            found = _sent(settings, folder, door)
        except FullcircleError as error:
            away = error if isinstance(error, TrackerAway) else None
            if not isinstance(error, SpoolTooNew):
                folder.trouble(error.what)
            found = dataclasses.replace(_looked_at(folder), why=error.what)
        if found is not None:
            left.append(found)
    return tuple(left), away


def settle(settings: Settings, run_id: str, patience_s: float = PATIENCE_S) -> None:
    """Send what stopped processes left of a run, until its tracker has it, whoever sends it.

    Another process may hold a folder with what the run told: one that syncs at this moment, or a child that outlived
    the process that was killed. What it will send is not with the tracker yet, and would be told a second time.

    Raises:
        TrackerAway: the tracker is away. A patient use case waits for it.
        TrackingUnavailable: not all could be sent, or another process still holds what was not sent.
    """
    outlast(lambda: _settled(settings, run_id, patience_s))


def _settled(settings: Settings, run_id: str, patience_s: float) -> None:
    ends = time.monotonic() + patience_s
    while True:
        found, away = _synced(settings, run_id)
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


def of_run(settings: Settings, run_id: str | None) -> Iterator[Folder]:
    """The folders of a run, by its id or the one under which it began, or of all; the oldest first."""
    for folder in folders(settings):
        if run_id is None:
            yield folder
            continue
        try:
            about = folder.about()
        except FullcircleError:
            continue
        if run_id in (about.run_id, about.key, folder.id):
            yield folder


def require_its_tracker(settings: Settings, about: About) -> None:
    """Raises TrackingUnavailable when the settings' tracker is not the one that the run is of."""
    if about.tracker != address(settings):
        said = f"run {about.key} is of the tracker {about.tracker}, not {address(settings)}"
        raise TrackingUnavailable(f"{said}: set MLFLOW_TRACKING_URI to the first")


def _sent(settings: Settings, folder: Folder, door: MlflowDoor) -> Unsent | None:
    """Send one folder; None when nothing is left of it, and it was removed."""
    about = folder.about()
    with folder.held() as ours:
        if not ours:
            return None if not folder.path.exists() else _looked_at(folder)
        require_its_tracker(settings, about)
        courier = Courier(folder, door, sealed=True)
        try:
            while courier.step():
                pass
        except OSError as error:
            raise TrackingUnavailable(f"the spool of run {about.key} cannot be read: {error}") from error
        folder.trouble("")
        if not (folder.damaged() or folder.left_out()):
            folder.remove()
            return None
    return _looked_at(folder)


def _only_kept(folder: Folder) -> bool:
    """Whether nothing is there but what was left out: for that no tracker is asked."""
    try:
        return bool(folder.left_out()) and folder.emptied and not folder.why()
    except OSError:
        return False


def _looked_at(folder: Folder) -> Unsent:
    try:
        return folder.unsent()
    except FullcircleError as error:
        return Unsent(
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
