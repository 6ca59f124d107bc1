"""Discards spool entries that MLflow rejects permanently; only on a user's command."""

from __future__ import annotations

import contextlib
import difflib

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import connect
from fullcircle.tracking.runs import run_lookup
from fullcircle.tracking.spool.backlog import Backlog
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.rejection import drop_first_rejected
from fullcircle.tracking.spool.spool_dir import SpoolDir, list_spool_dirs
from fullcircle.tracking.spool.sync import require_its_tracker, spool_dirs_of, sync

SHORTEST_BEGINNING = 4
"""Characters of a run's id, as `RunStore.find` has it."""


def drop_rejected(settings: Settings, reference: str) -> tuple[Backlog, ...]:
    """Give up the first entry that the tracker refuses of a run, and send the rest; see `spool.rejection`.

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
        own = tuple(spool_dirs_of(settings, run))
        for folder in own:
            if not stack.enter_context(folder.lock()):
                raise UsageError(
                    f"run {run} is held by another process, which sends it", hint="wait for that process, or end it"
                )
        _drop_once(settings, run, own)
    return sync(settings, run)


def _drop_once(settings: Settings, run: str, own: tuple[SpoolDir, ...]) -> None:
    try:
        for folder in own:
            require_its_tracker(settings, folder.metadata())
        backend = MlflowBackend(settings)
        for folder in own:  # the oldest first
            if drop_first_rejected(folder, backend):
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
    for folder in list_spool_dirs(settings):
        with contextlib.suppress(FullcircleError):  # of a newer version, or damaged: `sync` says so
            about = folder.metadata()
            own = words.setdefault(about.run_id or about.key, {about.run_id or about.key, about.key, folder.id})
            nameless |= about.begin is None  # one that was gone on with
            own |= {about.begin.name} if about.begin else set()
    found = [run for run, own in words.items() if reference in own]
    if not found and len(reference) >= SHORTEST_BEGINNING:
        found = [run for run in words if run.startswith(reference)]
    if not found and nameless:
        with contextlib.suppress(FullcircleError):
            found = [run for run in (run_lookup.find(connect(settings), settings, reference),) if run in words]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs are meant by {reference!r}", hint=f"say which: {', '.join(found[:5])}")
    near = difflib.get_close_matches(reference, sorted(set().union(*words.values())), n=3, cutoff=0.3)
    hint = f"the nearest are {', '.join(near)}" if near else f"what waits is of {', '.join(words) or 'no run'}"
    raise UsageError(f"nothing of a run {reference!r} waits in the spool", hint=hint)
