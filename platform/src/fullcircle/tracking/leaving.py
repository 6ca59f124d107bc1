"""Gives up what a tracker refuses of one run, when somebody asks for it: which run is meant, and who may not be."""

from __future__ import annotations

import contextlib
import difflib

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.tracking import finding
from fullcircle.tracking.client import connect
from fullcircle.tracking.spool.delivery import MlflowDoor
from fullcircle.tracking.spool.folder import Folder, Unsent, folders
from fullcircle.tracking.spool.refusal import leave_out as leave_out_of
from fullcircle.tracking.syncing import of_run, require_its_tracker, sync

SHORTEST_BEGINNING = 4
"""Characters of a run's id, as `Tracker.find` has it."""


def leave_out(settings: Settings, reference: str) -> tuple[Unsent, ...]:
    """Give up the first entry that the tracker refuses of a run, and send the rest; see `spool.refusal`.

    Args:
        reference: the run's id, a unique beginning of it, the id under which it began, or its name.

    Returns:
        What is left of this run, as `sync` does: what was left out is named in it.

    Raises:
        UsageError: nothing of such a run waits, with the nearest; several are meant; another process writes it.
        TrackerAway: the tracker does not answer, which is no refusal. Nothing was left out.
        TrackingUnavailable: the tracker takes nothing of the run at all, or its spool cannot be read. Nothing was.
    """
    run = _meant(settings, reference)
    with contextlib.ExitStack() as stack:
        own = tuple(of_run(settings, run))
        for folder in own:
            if not stack.enter_context(folder.held()):
                raise UsageError(
                    f"run {run} is held by another process, which sends it", hint="wait for that process, or end it"
                )
        _leave_out_once(settings, run, own)
    return sync(settings, run)


def _leave_out_once(settings: Settings, run: str, own: tuple[Folder, ...]) -> None:
    try:
        for folder in own:
            require_its_tracker(settings, folder.about())
        door = MlflowDoor(settings)
        for folder in own:  # the oldest first
            if leave_out_of(folder, door):
                break
    except TrackerAway as error:
        what = f"{error.what}; nothing was left out, for a tracker that is away refuses nothing"
        raise TrackerAway(what, hint="try again when it answers") from error
    except OSError as error:
        raise TrackingUnavailable(f"the spool of run {run} cannot be read or written: {error}") from error


def _meant(settings: Settings, reference: str) -> str:
    """The id, or the id under which it began, of the run that is meant, of which something is in the spool."""
    words: dict[str, set[str]] = {}
    nameless = False
    for folder in folders(settings):
        with contextlib.suppress(FullcircleError):  # of a newer version, or damaged: `sync` says so
            about = folder.about()
            own = words.setdefault(about.run_id or about.key, {about.run_id or about.key, about.key, folder.id})
            nameless |= about.begin is None  # one that was gone on with
            own |= {about.begin.name} if about.begin else set()
    found = [run for run, own in words.items() if reference in own]
    if not found and len(reference) >= SHORTEST_BEGINNING:
        found = [run for run in words if run.startswith(reference)]
    if not found and nameless:
        with contextlib.suppress(FullcircleError):
            found = [run for run in (finding.find(connect(settings), settings, reference),) if run in words]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs are meant by {reference!r}", hint=f"say which: {', '.join(found[:5])}")
    near = difflib.get_close_matches(reference, sorted(set().union(*words.values())), n=3, cutoff=0.3)
    hint = f"the nearest are {', '.join(near)}" if near else f"what waits is of {', '.join(words) or 'no run'}"
    raise UsageError(f"nothing of a run {reference!r} waits in the spool", hint=hint)
