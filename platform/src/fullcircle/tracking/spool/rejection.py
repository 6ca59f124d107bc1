"""Finds the first entry that MLflow rejects permanently and drops it, so that the rest is uploaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fullcircle.core.errors import FullcircleError, HomeUnwritable, SpoolTooNew, TrackerAway, TrackingUnavailable
from fullcircle.core.framed_log.frames import first_frame, read
from fullcircle.tracking.runs.run_tags import SPOOL, names
from fullcircle.tracking.spool import rejected
from fullcircle.tracking.spool.backend import Backend
from fullcircle.tracking.spool.sender import Uploader
from fullcircle.tracking.spool.spool_dir import SpoolDir
from fullcircle.tracking.spool.spool_file import KIND, Entry, Params, Points, Tags, decode, packed

Part = TypeVar("Part")
_NO_REJECTION = (TrackerAway, SpoolTooNew, HomeUnwritable)


def drop_first_rejected(folder: SpoolDir, backend: Backend) -> bool:
    """Send what can be sent, up to the first entry that the tracker refuses, and decide that this one is left out.

    Of points, parameters and tags only those are left out that are refused by themselves. The decision is one file,
    which is there whole or not at all: a kill before it changes nothing, and behind it whoever sends the folder next
    tags the run and goes on. The folder is held by the caller, and nobody writes to it. An artifact whose bytes are
    damaged here is treated as one that is refused.

    Returns:
        Whether an entry is left out now; False: the tracker has all of it.

    Raises:
        TrackerAway: the tracker does not answer, which is no refusal; nothing is left out.
        TrackingUnavailable: the tracker cannot begin the run, or takes nothing of it; nothing is left out.
        OSError: the spool cannot be read or written.
    """
    while (rejection := _rejection(folder, backend)) is not None:
        run_id = folder.metadata().run_id
        if run_id is None:
            raise rejection
        file, start, until, entry = _head(folder)
        _require_taken(folder, backend, run_id)
        refused = _refused(backend, run_id, entry)
        if refused is not None:
            rejected.save(file, start, until, refused, rejection.what)
            return True
        folder.advance(file, until)  # in smaller pieces all of it was taken
    return False


def _rejection(folder: SpoolDir, backend: Backend) -> FullcircleError | None:
    """What the tracker says to the entry at the head, when all before it was sent; None when all was sent."""
    uploader = Uploader(folder, backend, sealed=True)
    try:
        while uploader.step():
            pass
    except _NO_REJECTION:
        raise
    except FullcircleError as error:
        return error
    return None


def _head(folder: SpoolDir) -> tuple[Path, int, int, Entry]:
    """The first entry that was not sent: its file, the offsets before and behind it, and the entry."""
    for file in folder.files():
        start = folder.cursor(file) or first_frame(file, KIND)
        for payload, until in read(file, KIND, start, limit=1, skip=False).payloads:
            return file, start, until, decode(payload)
    raise AssertionError("the tracker refused an entry, so there is one")


def _require_taken(folder: SpoolDir, backend: Backend, run_id: str) -> None:
    """Refuse to give up entry after entry of a run of which the tracker takes nothing, or without its credentials. To
    find out, a tag that it has is logged again."""
    try:
        known = backend.get_tags(run_id)
        backend.log(run_id, Tags({key: value for key, value in known.items() if key in names(SPOOL)}))
    except _NO_REJECTION:
        raise
    except FullcircleError as error:
        raise TrackingUnavailable(
            f"nothing was left out, for the tracker takes nothing of run {run_id} at all: {error.what}",
            hint=f"look at the run there; when it is not wanted any more, remove {folder.path}",
        ) from error


def _refused(backend: Backend, run_id: str, entry: Entry) -> Entry | None:
    """What of the entry at the head, which was refused, is refused by itself; the tracker has the rest."""
    match entry:
        case Points():
            points = _alone(lambda some: backend.log_points(run_id, some), entry.points())
            rows = [(*packed({key: value}), at_ms, step) for key, value, at_ms, step in points]
            return Points.of(rows) if rows else None
        case Params() | Tags():
            kind = type(entry)
            pairs = _alone(lambda some: backend.log(run_id, kind(dict(some))), list(entry.values.items()))
            return kind(dict(pairs)) if pairs else None
        case _:
            return entry


def _alone(send: Callable[[Sequence[Part]], None], parts: Sequence[Part]) -> list[Part]:
    """Those that are refused when they are sent alone; the others were sent. By halves: mostly there is one."""
    try:
        send(parts)
    except _NO_REJECTION:
        raise
    except FullcircleError:
        if len(parts) > 1:
            middle = len(parts) // 2
            return [*_alone(send, parts[:middle]), *_alone(send, parts[middle:])]
        return list(parts)
    return []
