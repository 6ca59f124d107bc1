"""Who serves: releases and rollbacks, each one a change of the registry's aliases (see `loop.champion.handover`)."""

from __future__ import annotations

from datetime import UTC, datetime

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.ledger import RELEASING, Action
from fullcircle.core.models import PREVIOUS, ModelVersion, Release
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings


def release(
    project: Project, settings: Settings, version: ModelVersion, *, reason: str, decided_by: str, at: datetime
) -> Release:
    """Make `version` the champion and the champion the previous one. Its graph must load first.

    Raises:
        ModelUnavailable: when the graph does not load or its digest differs; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    from fullcircle.loop.champion.handover import handover

    with handover(project, settings) as desk:
        desk.settle()
        return desk.release(version, action=Action.PROMOTE, reason=reason, decided_by=decided_by, at=at)


def rollback(
    project: Project, settings: Settings, *, reason: str, decided_by: str, at: datetime | None = None
) -> Release:
    """Give the traffic back to the previous champion, after loading it successfully.

    Raises:
        ModelUnavailable: when there is no previous champion, or its graph does not load; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    from fullcircle.loop.champion.handover import handover

    at = at or datetime.now(UTC)
    with handover(project, settings) as desk:
        desk.settle()
        previous = desk.registry.alias(project.name, PREVIOUS)
        if previous is None:
            raise ModelUnavailable(
                f"{project.name} has no previous champion to roll back to", hint="it has been released once at most"
            )
        return desk.release(previous, action=Action.ROLLBACK, reason=reason, decided_by=decided_by, at=at)


def recover(project: Project, settings: Settings) -> tuple[str, ...]:
    """Finish or undo what a killed change of an alias left behind. Returns a sentence for each; safe to call twice."""
    from fullcircle.loop.champion.handover import handover

    with handover(project, settings) as desk:
        return desk.settle()


def refuse_moved(project: Project, settings: Settings) -> None:
    """Raise FullcircleError when an alias was moved behind the platform's back: before work that is for nothing."""
    from fullcircle.loop.champion.handover import handover

    with handover(project, settings) as desk:
        desk.refuse_moved()


def completed(project: Project, settings: Settings) -> list[Release]:
    """The releases that took place, oldest first."""
    from fullcircle.store.database import Database
    from fullcircle.store.releases import COMPLETE, Releases

    history = Releases(Database(settings)).history(project.name)
    return [row.release for row in history if row.state == COMPLETE and row.release.action in RELEASING]
