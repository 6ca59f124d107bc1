"""The lease that allows one retrain of a project at a time, on any number of machines: a second one waits or is
refused.

Whatever retrains (the command line, a schedule, an event, a replay) does it in the name of one lease, and each stage
first looks whether the lease is still its own: one that was given up ends there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from fullcircle.core.project import Project
from fullcircle.loop import progress
from fullcircle.loop.steps import Step
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import TTL_S, Lease, Leases, held

P = ParamSpec("P")
T = TypeVar("T")


def resource(name: str) -> str:
    """What the lease on a project's retrains is called."""
    return f"retrain:{name}"


@contextlib.contextmanager
def retrain_lease(
    project: Project, workspace: Workspace, *, doing: str = "a retrain", wait: bool = True, ttl_s: float = TTL_S
) -> Iterator[Lease]:
    """Be the only one that retrains the project while the block runs; who is waited for is said in one line.

    Raises:
        LeaseTaken: another one is at it, and we do not wait.
    """
    said = progress.current().note
    name = f"{doing} of {project.name}"
    with held(workspace.database, resource(project.name), name, wait=wait, waits=said, ttl_s=ttl_s) as lease:
        yield lease


class FencedStep:
    """A `Step` that does nothing more once the lease is lost."""

    def __init__(self, step: Step, workspace: Workspace, lease: Lease) -> None:
        self._step = step
        self._leases = Leases(workspace.database)
        self._lease = lease

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises LeaseLost before the stage when we were given up; else as the `Step` that it was made of."""
        self.check()
        return self._step(name, function, *args, **kwargs)

    def check(self) -> None:
        """Raise LeaseLost when we were given up."""
        self._leases.check(self._lease)
