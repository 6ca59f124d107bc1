"""Releases and rollbacks: changes of the registry's aliases through `loop.promotion.alias_transition`."""

from __future__ import annotations

from datetime import datetime

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import RELEASING, Action, Judged
from fullcircle.core.records.releases import PREVIOUS, ModelVersion, Release
from fullcircle.loop.promotion.alias_transition import alias_transition
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease
from fullcircle.store.releases import COMPLETE, Releases


def release(
    project: Project,
    workspace: Workspace,
    version: ModelVersion,
    *,
    reason: str,
    decided_by: str,
    data_until: datetime | None = None,
    against: Judged | None = None,
    lease: Lease | None = None,
) -> Release:
    """Make `version` the champion and the champion the previous one. Its graph must load first.

    Args:
        data_until: the time of the data: the verdict rests on rows before it.
        against: what that verdict was taken against.
        lease: in whose name it is released.

    Raises:
        ChampionChanged: another champion serves than `against` says; nothing was changed then.
        LeaseLost: who released it was given up meanwhile; nothing was changed then.
        ModelUnavailable: when the graph does not load or its digest differs; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    with alias_transition(project, workspace, lease=lease) as transition:
        transition.settle()
        return transition.release(
            version,
            action=Action.PROMOTE,
            reason=reason,
            decided_by=decided_by,
            data_until=data_until,
            against=against,
        )


def rollback(
    project: Project,
    workspace: Workspace,
    *,
    reason: str,
    decided_by: str,
    data_until: datetime | None = None,
    against: Judged | None = None,
    lease: Lease | None = None,
) -> Release:
    """Give the traffic back to the previous champion, after loading it successfully.

    Args:
        against: the champion that is to be replaced: decided twice, it is rolled back once. Others as `release`.

    Raises:
        ChampionChanged: another champion serves than `against` says; nothing was changed then.
        ModelUnavailable: when there is no previous champion, or its graph does not load; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    with alias_transition(project, workspace, lease=lease) as transition:
        transition.settle()
        previous = transition.registry.alias(project.name, PREVIOUS)
        if previous is None:
            raise ModelUnavailable(
                f"{project.name} has no previous champion to roll back to",
                hint=f"'fullcircle promote {project.name} VERSION --why TEXT' releases any that is registered",
            )
        return transition.release(
            previous,
            action=Action.ROLLBACK,
            reason=reason,
            decided_by=decided_by,
            data_until=data_until,
            against=against,
        )


def recover(project: Project, workspace: Workspace) -> tuple[str, ...]:
    """Finish or undo what a killed change of an alias left behind. Returns a sentence for each; safe to call twice."""
    with alias_transition(project, workspace) as transition:
        return transition.settle()


def refuse_moved(project: Project, workspace: Workspace) -> None:
    """Raise FullcircleError when an alias was moved behind the platform's back: before work that is for nothing."""
    with alias_transition(project, workspace) as transition:
        transition.refuse_moved()


def completed(project: Project, workspace: Workspace) -> list[Release]:
    """The releases that took place, oldest first."""
    history = Releases(workspace.database).history(project.name)
    return [row.release for row in history if row.state == COMPLETE and row.release.action in RELEASING]
