"""Human approval: nominates a challenger, and approves or rejects the one that waits, with a reason."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Action, Judged, nomination, waiting
from fullcircle.core.records.releases import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.loop.clock import replay_time
from fullcircle.loop.promotion.alias_transition import alias_transition
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease

if TYPE_CHECKING:
    from fullcircle.core.records.ledger_entries import Entry
    from fullcircle.loop.promotion.alias_transition import AliasTransition


def nominate(
    project: Project,
    workspace: Workspace,
    version: ModelVersion,
    *,
    reason: str,
    decided_by: str,
    data_until: datetime | None = None,
    against: Judged | None = None,
    lease: Lease | None = None,
) -> None:
    """Make `version` the challenger, in place of an earlier one.

    One that passed its gate waits for a human from then on, and each route is paged once with the link to review it.
    Nominating the challenger again, against the same champion, changes nothing.

    Args:
        data_until, against, lease: as of a release.

    Raises:
        ChampionChanged: another champion serves than `against` says; nothing was changed then.
        LeaseLost: who nominated it was given up meanwhile; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    with alias_transition(project, workspace, lease=lease) as transition:
        transition.settle()
        transition.refuse_moved()
        aliases = transition.ledger_head.aliases(project.name)
        known = nomination(transition.ledger.entries(project.name), version.version)
        if known is not None and (known.version, known.previous) == (aliases.challenger, aliases.champion):
            return
        transition.change(
            Release(
                project=project.name,
                version=version.version,
                previous=aliases.champion,
                at=datetime.now(UTC),
                reason=reason,
                decided_by=decided_by,
                action=Action.NOMINATE.value,
                data_until=data_until,
            ),
            against=against,
        )


def promote(project: Project, workspace: Workspace, ref: str, *, why: str, who: str) -> Release:
    """Make any registered version the champion, whatever its gate said, for a reason.

    Args:
        ref: a version's number, or an alias.

    Raises:
        UsageError: when there is no such version, or no reason.
        ModelUnavailable: when the graph does not load or its digest differs; nothing was changed then.
        FullcircleError: when an alias was moved behind the platform's back; nothing was changed then.
    """
    return _release(project, workspace, ref, Action.PROMOTE, why=why, who=who)


def approve(project: Project, workspace: Workspace, ref: str, *, why: str, who: str) -> Release:
    """Release the challenger that waits for a human.

    Raises:
        UsageError: when it does not wait, or its gate compared it with a champion that serves no more.
        Others: as `promote`.
    """
    return _release(project, workspace, ref, Action.APPROVE, why=why, who=who)


def reject(project: Project, workspace: Workspace, ref: str, *, why: str, who: str) -> Release:
    """Close the case of the challenger that waits for a human: it is no challenger any more. Raises as `approve`."""
    with alias_transition(project, workspace) as transition:
        transition.settle()
        version = known_version(transition, ref)
        reason_given(why)
        _refuse_unless_waiting(transition, version)
        transition.refuse_moved()
        change = Release(
            project=project.name,
            version=version.version,
            previous=transition.ledger_head.aliases(project.name).champion,
            at=datetime.now(UTC),
            reason=why,
            decided_by=who,
            action=Action.REJECT.value,
            data_until=replay_time(project, workspace),
        )
        transition.change(change)
        return change


def known_version(transition: AliasTransition, ref: str) -> ModelVersion:
    """The version of that number or alias. Raises UsageError with the nearest that there are."""
    name = transition.project.name
    known = {each.version: each for each in transition.registry.versions(name)}
    named = transition.ledger_head.aliases(name).named()
    found = known.get(named.get(ref, ref))
    if found is not None:
        return found
    if not known:
        hint = f"nothing is registered under {name}; 'fullcircle run {name}' trains a first version"
    elif ref.isdecimal():
        near = sorted(known, key=lambda version: (abs(int(version) - int(ref)), int(version)))[:3]
        hint = f"the nearest are {', '.join(near)}" if len(near) > 1 else f"there is only {near[0]}"
    else:
        near = difflib.get_close_matches(ref, [CHAMPION, CHALLENGER, PREVIOUS], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are versions {', '.join(sorted(known, key=int)[-10:])}"
    raise UsageError(f"{name} has no version {ref!r}", hint=hint)


def reason_given(why: str) -> None:
    """Raise UsageError when there is no reason, or it is not one printable line."""
    if not why.strip() or not why.isprintable():
        hint = "--why 'in a few words', printable and on one line"
        raise UsageError("a reason is needed: it is kept in the ledger", hint=hint)


def _release(project: Project, workspace: Workspace, ref: str, action: Action, *, why: str, who: str) -> Release:
    with alias_transition(project, workspace) as transition:
        transition.settle()
        version = known_version(transition, ref)
        reason_given(why)
        against = None
        if action is Action.APPROVE:
            nominated = _refuse_unless_waiting(transition, version)
            _refuse_old_evidence(transition, nominated)
            against = Judged(champion=nominated.previous)
        return transition.release(
            version,
            action=action,
            reason=why,
            decided_by=who,
            data_until=replay_time(project, workspace),
            against=against,
        )


def _refuse_unless_waiting(transition: AliasTransition, version: ModelVersion) -> Entry:
    name, waits = transition.project.name, waiting(transition.ledger.entries(transition.project.name))
    if waits is None or waits.version != version.version:
        other = f"version {waits.version} does" if waits else "none does"
        raise UsageError(
            f"version {version.version} of {name} does not wait for approval: {other}",
            hint=f"'fullcircle promote {name} {version.version} --why TEXT' releases any version",
        )
    return waits


def _refuse_old_evidence(transition: AliasTransition, nominated: Entry) -> None:
    """Raise UsageError when another champion serves than the one that the challenger was proven better than."""
    champion = transition.ledger_head.aliases(transition.project.name).champion
    if champion != nominated.previous:
        name, version = transition.project.name, nominated.version
        against = f"version {nominated.previous}" if nominated.previous else "no champion"
        serves = f"version {champion} serves" if champion else "none serves"
        raise UsageError(
            f"version {version} of {name} was judged against {against}, and now {serves}",
            hint=f"'fullcircle run {name}' judges anew, 'fullcircle promote {name} {version} --why TEXT' does not ask",
        )
