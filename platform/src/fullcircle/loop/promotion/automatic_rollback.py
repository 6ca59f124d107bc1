"""Automatic rollback: carries out a decided rollback where the policy allows it, else sends on-call the command."""

from __future__ import annotations

from collections.abc import Mapping

from fullcircle.core.errors import ChampionChanged, FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.records.health import Health, Rollback
from fullcircle.core.records.incidents import Incident
from fullcircle.core.records.ledger_entries import Judged
from fullcircle.core.records.releases import CHAMPION
from fullcircle.loop import progress
from fullcircle.loop.clock import is_replayed
from fullcircle.loop.promotion.release import rollback
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.incidents import rollback_incident
from fullcircle.store.decisions import Decisions

BY = "policy"
"""Who decides a rollback that nobody was asked for, in the ledger."""


def apply_rollback(
    project: Project, workspace: Workspace, health: Health, decision: Rollback, links: Mapping[str, str]
) -> tuple[Incident, ...]:
    """Roll back, or have on-call do it; returns what to page.

    Asked again about the same window, nothing is rolled back twice: a rollback replaces the champion that was judged,
    and no other. A replay carries out its decisions itself, month after month.
    """
    if is_replayed(project.name, workspace):
        return ()
    judged, serving = _judged(project, workspace, health), workspace.registry.alias(project.name, CHAMPION)
    now, done, failed = serving.version if serving else None, False, ""
    if now not in (judged, decision.to):
        progress.current().stage("roll back", f"not needed any more: version {now} serves")
        return ()
    if now == decision.to:
        done = True
    elif project.policy.auto_rollback and project.approval != "human":
        try:
            _roll_back(project, workspace, health, decision, judged)
            done = True
        except ChampionChanged:
            return ()  # somebody was faster; the next window judges who serves then
        except FullcircleError as error:  # a graph that does not load, an alias that was moved: on-call must know
            failed = str(error)
    said = f"version {decision.to} serves again" if done else failed or "on-call is given the command"
    progress.current().stage("roll back", said)
    return (rollback_incident(project, health, decision, judged, done=done, failed=failed, links=links),)


def _judged(project: Project, workspace: Workspace, health: Health) -> str:
    """The champion that the decision was about: asked again later, another one may serve."""
    recorded = Decisions(workspace.database).get(project.name, health.window.name)
    return str((recorded.evidence if recorded else {}).get("champion") or health.champion_version)


def _roll_back(project: Project, workspace: Workspace, health: Health, decision: Rollback, judged: str) -> None:
    rollback(
        project,
        workspace,
        reason=decision.reason,
        decided_by=BY,
        data_until=health.window.end,
        against=Judged(champion=judged),
    )
