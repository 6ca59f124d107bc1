"""Who serves: two-phase changes of the registry's aliases, so that a kill between any two steps leaves one champion.

First the intent is written to the store, then `previous` and `champion` are moved, then the intent is marked done.
Whoever comes next calls `recover`: it finishes an intent whose graph loads, and undoes one whose graph does not.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError, ModelUnavailable
from fullcircle.core.models import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.tracking.registry import Registry


def release(
    project: Project, settings: Settings, version: ModelVersion, *, reason: str, decided_by: str, at: datetime
) -> Release:
    """Make `version` the champion and the champion the previous one. Its graph must load first.

    Raises:
        ModelUnavailable: when the graph does not load or its digest differs; nothing was changed then.
    """
    from fullcircle.store.database import Database
    from fullcircle.store.releases import Releases
    from fullcircle.tracking.registry import Registry

    registry, releases = Registry(settings), Releases(Database(settings))
    recover(project, settings)
    loads(settings, version)
    champion = registry.alias(project.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        raise ModelUnavailable(f"version {version.version} of {project.name} is the champion already")
    intent = Release(
        project=project.name,
        version=version.version,
        previous=champion.version if champion else None,
        at=at,
        reason=reason,
        decided_by=decided_by,
    )
    intent_id = releases.begin(intent)
    _move_aliases(registry, intent)
    releases.complete(intent_id)
    return intent


def rollback(
    project: Project, settings: Settings, *, reason: str, decided_by: str, at: datetime | None = None
) -> Release:
    """Give the traffic back to the previous champion, after loading it successfully.

    Raises:
        ModelUnavailable: when there is no previous champion, or its graph does not load; nothing was changed then.
    """
    from fullcircle.tracking.registry import Registry

    recover(project, settings)
    previous = Registry(settings).alias(project.name, PREVIOUS)
    if previous is None:
        raise ModelUnavailable(
            f"{project.name} has no previous champion to roll back to", hint="it has been released once at most"
        )
    return release(project, settings, previous, reason=reason, decided_by=decided_by, at=at or datetime.now(UTC))


def recover(project: Project, settings: Settings) -> tuple[str, ...]:
    """Finish or undo what a killed release left behind. Returns a sentence for each; safe to call twice."""
    from fullcircle.store.database import Database
    from fullcircle.store.releases import Releases
    from fullcircle.tracking.registry import Registry

    registry, releases = Registry(settings), Releases(Database(settings))
    said = []
    for row in releases.pending(project.name):
        intent = row.release
        try:
            loads(settings, registry.version(project.name, intent.version))
        except FullcircleError as error:
            _undo(registry, intent)
            releases.abandon(row.id, str(error))
            said.append(f"undid the unfinished release of version {intent.version}: {error.what}")
        else:
            _move_aliases(registry, intent)
            releases.complete(row.id)
            said.append(f"finished the release of version {intent.version} that was cut short")
    return tuple(said)


def completed(project: Project, settings: Settings) -> list[Release]:
    """The releases that took place, oldest first."""
    from fullcircle.store.database import Database
    from fullcircle.store.releases import COMPLETE, Releases

    return [row.release for row in Releases(Database(settings)).history(project.name) if row.state == COMPLETE]


def loads(settings: Settings, version: ModelVersion) -> None:
    """Load the version's graph. Raises ModelUnavailable when it does not load or its digest differs."""
    from fullcircle.graph.session import Graph
    from fullcircle.tracking.registry import Registry

    Graph.load(Registry(settings).graph(version), digest=version.digest)


def _move_aliases(registry: Registry, intent: Release) -> None:
    # `previous` first: killed in between, both aliases name the old champion, which still serves.
    if intent.previous is not None:
        registry.set_alias(intent.project, PREVIOUS, intent.previous)
    registry.set_alias(intent.project, CHAMPION, intent.version)
    challenger = registry.alias(intent.project, CHALLENGER)
    if challenger is not None and challenger.version == intent.version:
        registry.drop_alias(intent.project, CHALLENGER)


def _undo(registry: Registry, intent: Release) -> None:
    champion = registry.alias(intent.project, CHAMPION)
    if champion is not None and champion.version == intent.version:
        if intent.previous is None:
            registry.drop_alias(intent.project, CHAMPION)
        else:
            registry.set_alias(intent.project, CHAMPION, intent.previous)
