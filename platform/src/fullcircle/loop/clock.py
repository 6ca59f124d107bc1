"""What time it is for a project: the machine's clock, or where the project is a replay's, how far that has come.

A replay lives through a past year, and its months are its time. Nothing that is asked for beside it may learn from,
judge or watch what the replay has not come to, and nothing of it may be taken for what happened on the machine's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.loop.workspace import Workspace
from fullcircle.store.replay_clock import Replays


def replay_time(project: Project, workspace: Workspace) -> datetime | None:
    """How far the project's replay has come; None where the project lives on the machine's clock."""
    return Replays(workspace.database).clock(project.name)


def is_replayed(name: str, workspace: Workspace) -> bool:
    """Whether the project of that name is a replay's here."""
    return Replays(workspace.database).clock(name) is not None


def now(project: Project, workspace: Workspace) -> datetime:
    """The project's time."""
    return replay_time(project, workspace) or datetime.now(UTC)


def refuse_ahead(project: Project, workspace: Workspace, wanted: datetime | None, what: str) -> None:
    """Raise UsageError when `wanted` is ahead of the project's replay; `what` names it."""
    clock = replay_time(project, workspace)
    if clock is not None and wanted is not None and wanted > clock:
        raise UsageError(
            f"{project.name} is a replay here, which has come to {clock:%Y-%m-%d %H:%M} UTC: {what} "
            f"{wanted:%Y-%m-%d %H:%M} is ahead of it",
            hint="leave it out to go on in the replay's time, or use a home of its own: FULLCIRCLE_HOME=FOLDER",
        )
