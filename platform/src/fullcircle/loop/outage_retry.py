"""Retries use cases through outages of the tracker or the database, up to `FULLCIRCLE_WAIT`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import Patience, patient
from fullcircle.loop import progress
from fullcircle.loop.workspace import Workspace

P = ParamSpec("P")
T = TypeVar("T")


def patience(settings: Settings) -> Patience:
    """How long the settings let a use case wait; what it waits for is told to whoever watches its progress."""
    return Patience(
        limit_s=settings.wait_s,
        say=lambda text: progress.current().note(text),
        kept=str(settings.home),
        setting="FULLCIRCLE_WAIT",
    )


def retry_outages(use_case: Callable[P, T]) -> Callable[P, T]:
    """A use case, one of whose arguments is the workspace, that waits for a tracker or a database that goes away.

    A tracker that is away when a command that somebody typed begins is told at once all the same: nothing is done yet.
    """

    @functools.wraps(use_case)
    def waits(*args: P.args, **kwargs: P.kwargs) -> T:
        workspace = next(each for each in (*args, *kwargs.values()) if isinstance(each, Workspace))
        with patient(patience(workspace.settings)):
            return use_case(*args, **kwargs)

    return waits
