"""Status of a project for an operator: champion, releases, open incidents, waiting challengers, decisions."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Aliases
from fullcircle.core.records.releases import ModelVersion, Release
from fullcircle.core.settings import Settings
from fullcircle.core.tasks import Task
from fullcircle.loop.incident_actions import all_incidents, undelivered
from fullcircle.loop.promotion.ledger_audit import verify
from fullcircle.loop.promotion.release import completed
from fullcircle.loop.workspace import Workspace
from fullcircle.store.decisions import Decisions
from fullcircle.store.releases import Releases
from fullcircle.tracking.reader.open_reader import open_reader
from fullcircle.tracking.runs.run_schema import score_tag
from fullcircle.tracking.spool import drop_rejected
from fullcircle.tracking.spool.sync import backlog, sync

if TYPE_CHECKING:
    from fullcircle.store.decisions import DecisionRow
    from fullcircle.tracking.spool.backlog import Backlog


def overview(project: Project, workspace: Workspace) -> dict[str, Any]:
    """Aliases, what the ledger holds against them, releases, decisions and open incidents, as plain values."""
    reader, database = open_reader(workspace.settings), workspace.database
    (checked,) = verify(workspace, [project.name])
    model = reader.model(project.name)
    named = Aliases.of(model.aliases).named() if model else {}
    aliases = {alias: reader.version(project.name, number) for alias, number in named.items()}
    return {
        "project": project.name,
        "aliases": {alias: _version(project.target, version) for alias, version in aliases.items() if version},
        "ledger": [*checked.wrong],
        "releases": [_release(made) for made in completed(project, workspace)],
        "unfinished_releases": len(Releases(database).pending(project.name)),
        "decisions": [_decision(row) for row in Decisions(database).all(project.name)],
        "undelivered": undelivered(project, workspace),
        "open_incidents": [row for row in all_incidents(project, workspace) if row["resolved"] is None],
    }


def waiting(settings: Settings) -> list[dict[str, Any]]:
    """What runs of this home told and the tracker does not have, the oldest first. Does not ask the tracker."""
    return [_unsent(each) for each in backlog(settings)]


def sent(settings: Settings, leave_out: str | None = None) -> list[dict[str, Any]]:
    """Send what waits; returns what is left all the same, as `waiting`.

    Args:
        leave_out: a run (id, its beginning, or name): what the tracker refuses first of it is left out, and only the
            rest of this run is sent. Raises as `tracking.spool.drop_rejected.drop_rejected`.
    """
    if leave_out is None:
        return [_unsent(each) for each in sync(settings)]

    return [_unsent(each) for each in drop_rejected.drop_rejected(settings, leave_out)]


def _unsent(each: Backlog) -> dict[str, Any]:
    return {**dataclasses.asdict(each), "owed": each.owed, "since": datetime.fromtimestamp(each.since, UTC)}


def _version(task: Task, version: ModelVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "run_id": version.run_id,
        "digest": version.digest,
        "framework": version.tags.get("fullcircle.framework"),
        f"test_{task.primary}": version.tags.get(score_tag(task)),
    }


def _release(made: Release) -> dict[str, Any]:
    return {
        "version": made.version,
        "previous": made.previous,
        "at": made.at,
        "data_until": made.data_until,
        "reason": made.reason,
        "by": made.decided_by,
        "identity": made.identity,
    }


def _decision(row: DecisionRow) -> dict[str, Any]:
    return {"window": row.window, "decision": type(row.decision).__name__.lower(), "reason": row.decision.reason}
