"""Audits the champion ledger: who served when, whether entries and aliases agree, repair or acceptance of a
difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import (
    LEDGER_TIME,
    Action,
    Aliases,
    Entry,
    after,
    current,
    serving_at,
    timeline,
)
from fullcircle.core.records.releases import Release
from fullcircle.loop.clock import replay_time
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.registry.ledger_head import LedgerHeadStore


@dataclass(frozen=True, kw_only=True)
class LedgerCheck:
    """What was found when a project's ledger was verified.

    Attributes:
        faults: what is wrong with the chain, one sentence each.
        moved: aliases that name another version than the ledger says, one sentence each.
        copied: versions that no gate judged, since somebody copied them in MLflow, one sentence each.
        unfinished: a change that a kill cut short; the next command finishes or undoes it. "" when there is none.
    """

    project: str
    entries: int
    faults: tuple[str, ...]
    moved: tuple[str, ...]
    copied: tuple[str, ...]
    unfinished: str

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[str, ...]:
        """All that is wrong, one sentence each."""
        return (*self.faults, *self.moved, *self.copied)


def who(project: Project, workspace: Workspace, at: datetime | None = None) -> dict[str, Any]:
    """Which version was champion at that moment, since when, by whom, why and with which verdict: by the ledger alone.

    Args:
        at: in ledger time, or of a replay's ledger in the time of the data; None: which one is champion now.

    Raises:
        UsageError: when that moment is still to come.
        FullcircleError: when the chain does not hold, or there was no champion.
    """
    from fullcircle.store.champion_ledger import Ledger, faults

    replayed = replay_time(project, workspace)
    entries = Ledger(workspace.database).entries(project.name)
    # Ledger time is ahead of a clock that was set back: what was written last holds now, whatever the clock says.
    now = max([replayed or datetime.now(UTC), *timeline(entries, replayed=replayed is not None)])
    at = at or now
    if at > now:
        raise UsageError(f"{at:%Y-%m-%d %H:%M} UTC is still to come: the ledger knows who served, not who will")
    if wrong := faults(entries):
        raise FullcircleError(
            f"the ledger of {project.name} does not hold, so it cannot say who served: {wrong[0]}",
            hint=f"'fullcircle ledger verify {project.name}' says all that is wrong",
        )
    times = timeline(entries, replayed=replayed is not None)
    found = serving_at(entries, at, replayed=replayed is not None)
    if found is None:
        since = f"its first entry is of {times[0]:%Y-%m-%d %H:%M} UTC" if entries else "it has no entry"
        raise FullcircleError(
            f"{project.name} had no champion at {at:%Y-%m-%d %H:%M} UTC by its ledger: {since}",
            hint=f"'fullcircle ledger show {project.name}' lists what it has",
        )
    return {
        "project": project.name,
        "at": at,
        "version": found.aliases.champion,
        "model_digest": found.model_digest,
        "data_digest": found.data_digest,
        "since": times[entries.index(found)],
        "time": "replay" if replayed else "ledger" if found.format >= LEDGER_TIME else "claimed",
        "recorded": found.recorded,
        "data_until": found.data_until,
        "by": found.who,
        "identity": found.identity,
        "why": found.why,
        "action": found.action.value,
        "verdict": found.verdict,
        "entry": found.seq,
    }


def show(project: Project, workspace: Workspace) -> list[Entry]:
    """The project's entries, oldest first, as they are; `verify` says whether they hold."""
    from fullcircle.store.champion_ledger import Ledger

    return Ledger(workspace.database).entries(project.name)


def verify(workspace: Workspace, names: Sequence[str] | None = None) -> tuple[LedgerCheck, ...]:
    """Check the ledgers of these projects, or of all that have one. Nothing is changed.

    Raises:
        FullcircleError: when an entry cannot be read, or is of a newer version.
    """
    from fullcircle.store.champion_ledger import Ledger

    if names is None:
        names = sorted({*Ledger(workspace.database).projects(), *LedgerHeadStore(workspace.settings).models()})
    return tuple(_check(workspace, name) for name in names)


def repair(project: Project, workspace: Workspace, *, why: str, by: str) -> tuple[str, ...]:
    """Put aliases that were moved behind the platform's back to what the ledger says; returns which, () for none.

    Raises:
        FullcircleError: when the chain does not hold: what it says is then no reason to move anything.
        ModelUnavailable: when the graph of the champion by the ledger does not load, or a version that an alias is to
            name was deleted; nothing was changed then.
    """
    from fullcircle.loop.promotion.alias_transition import alias_transition, loads
    from fullcircle.loop.promotion.approval import reason_given
    from fullcircle.store.champion_ledger import faults

    reason_given(why)
    with alias_transition(project, workspace) as transition:
        transition.settle()
        moved, entries = transition.moved(), transition.ledger.entries(project.name)
        if not moved:
            return ()
        if wrong := faults(entries, transition.ledger_head.head(project.name)):
            raise FullcircleError(
                f"the ledger of {project.name} does not hold ({wrong[0]}), so nothing is put back to it",
                hint="bring the database back from a backup, or 'fullcircle ledger accept' the aliases as they are",
            )
        expected, found = current(entries), transition.ledger_head.aliases(project.name)
        transition.require_registered(expected)
        if expected.champion is not None:
            loads(workspace, transition.registry.version(project.name, expected.champion))
        transition.change(_change(project, workspace, Action.HEAL, expected.champion, found.champion, why=why, by=by))
        return moved


def accept(project: Project, workspace: Workspace, *, why: str, by: str) -> tuple[str, ...]:
    """Take the aliases as they are, with an entry that says so; returns what was wrong, () for nothing.

    Also keeps the ledger's head anew: what is missing at the end is then known to be missing, and why.
    """
    from fullcircle.loop.promotion.alias_transition import alias_transition, differences
    from fullcircle.loop.promotion.approval import reason_given
    from fullcircle.store.champion_ledger import faults

    reason_given(why)
    with alias_transition(project, workspace) as transition:
        transition.settle()
        entries = transition.ledger.entries(project.name)
        found, expected = transition.ledger_head.aliases(project.name), current(entries)
        chain = faults(entries)
        lost = [
            str(fault) for fault in faults(entries, transition.ledger_head.head(project.name)) if fault not in chain
        ]
        wrong = (*lost, *differences(project.name, entries, found))
        if wrong:
            change = _change(project, workspace, Action.ACCEPT, found.champion, expected.champion, why=why, by=by)
            transition.accept(change, found)
        return wrong


def _change(
    project: Project,
    workspace: Workspace,
    action: Action,
    version: str | None,
    previous: str | None,
    *,
    why: str,
    by: str,
) -> Release:
    return Release(
        project=project.name,
        version=version or "",
        previous=previous,
        at=datetime.now(UTC),
        reason=why,
        decided_by=by,
        action=action.value,
        data_until=replay_time(project, workspace),
    )


def _check(workspace: Workspace, name: str) -> LedgerCheck:
    from fullcircle.loop.promotion.alias_transition import differences
    from fullcircle.store.champion_ledger import Ledger, faults
    from fullcircle.store.releases import Releases

    database, ledger_head = workspace.database, LedgerHeadStore(workspace.settings)
    entries = Ledger(database).entries(name)
    pending = [row.release for row in Releases(database).pending(name)]
    found, expected = ledger_head.aliases(name), current(entries)
    moved = differences(name, entries, found)
    if pending and _half_way(expected, after(expected, pending[0]), found):
        moved = ()
    unfinished = f"the {pending[0].action} of version {pending[0].version} was cut short" if pending else ""
    wrong = tuple(str(fault) for fault in faults(entries, ledger_head.head(name)))
    copied = tuple(
        f"version {version} was copied in MLflow, by its 'Promote model' or a program: no gate judged it"
        for version in ledger_head.copies(name)
    )
    return LedgerCheck(
        project=name, entries=len(entries), faults=wrong, moved=moved, copied=copied, unfinished=unfinished
    )


def _half_way(before: Aliases, target: Aliases, found: Aliases) -> bool:
    """Whether a change that was cut short explains what the aliases name."""
    was, will, now = (_all(each) for each in (before, target, found))
    return all(now[alias] in (was[alias], will[alias]) for alias in now)


def _all(aliases: Aliases) -> Mapping[str, str | None]:
    return {"champion": aliases.champion, "challenger": aliases.challenger, "previous": aliases.previous}
