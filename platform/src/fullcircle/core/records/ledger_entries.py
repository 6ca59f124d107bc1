"""Entries of the champion ledger: alias changes, who served when, and what follows from them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from fullcircle.core.records.releases import CHALLENGER, CHAMPION, PREVIOUS, Release
from fullcircle.core.security.identity import by
from fullcircle.core.statistics.outcome import Outcome


class Action(StrEnum):
    """What an entry of the ledger says was done."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    NOMINATE = "nominate"
    """A version became the challenger: it did not pass the gate, or it waits for a human's approval."""
    APPROVE = "approve"
    REJECT = "reject"
    HEAL = "heal"
    """Aliases that were moved behind the platform's back were put back to what the ledger says."""
    ACCEPT = "accept"
    """Aliases that were moved behind the platform's back were taken as they are."""


RELEASING = frozenset({Action.PROMOTE, Action.ROLLBACK, Action.APPROVE})
"""The actions that make a version the champion."""


@dataclass(frozen=True, kw_only=True)
class Aliases:
    """The version that each alias of a model names, None where there is no such alias."""

    champion: str | None = None
    challenger: str | None = None
    previous: str | None = None

    @classmethod
    def of(cls, named: Mapping[str, str | None]) -> Aliases:
        """From alias -> version. Other aliases are none of the platform's."""
        return cls(**{alias: named.get(alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)})

    def named(self) -> dict[str, str]:
        """Alias -> version, for those that there are."""
        return {alias: version for alias, version in dataclasses.asdict(self).items() if version is not None}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a project's ledger. Nothing in it is ever changed.

    Attributes:
        seq: 1, 2, 3, ... within the project.
        at: since when it holds, in ledger time: the clock, and never before the entry before it, however the clock was
            set. UTC. Of an entry of format 1 it is what its writer claimed, which may be a time of the data.
        recorded: what the clock said when it was written, even if that was set back. UTC.
        data_until: the time of the data: what was decided rests on rows before it, and in a replay it is when it
            happened. None where nobody said. UTC.
        identity: what was known of whoever did it, see `core.security.identity`; None for what was written before that
            was kept.
        version: what it is about; "" where no version is left (a heal that found no champion to put back).
        previous: what the alias `champion` named before.
        verdict: the gate's outcome for the version, "" when none was recorded.
        model_digest, data_digest: SHA-256 of the graph and digest of the data version, "" when not known.
        aliases: what the aliases name after it.
        format: how `hash` is computed: SHA-256 over canonical JSON of all other fields that this format has
            (`SINCE_FORMAT`).
        previous_hash: the hash of the entry before, "" for the first.
    """

    project: str
    seq: int
    at: datetime
    recorded: datetime
    action: Action
    version: str
    previous: str | None
    who: str
    why: str
    verdict: str
    model_digest: str
    data_digest: str
    aliases: Aliases
    format: int
    previous_hash: str
    hash: str
    data_until: datetime | None = None
    identity: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def by(self) -> str:
        """Who did it, with what is only claimed called a claim."""
        return by(self.who, self.identity)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The champion that a verdict was taken against (None: there was none): it counts only while that one serves."""

    champion: str | None


SINCE_FORMAT: Mapping[str, int] = {"data_until": 2, "identity": 3}
"""The fields that entries of older formats do not have, and the format that brought each."""
LEDGER_TIME = 2
"""The first format whose `at` is ledger time."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The newest entry of a ledger, as it is kept a second time outside of it."""

    seq: int
    hash: str


def after(aliases: Aliases, change: Release) -> Aliases:
    """What the aliases name once the change was made."""
    match Action(change.action):
        case Action.NOMINATE:
            return dataclasses.replace(aliases, challenger=change.version)
        case Action.REJECT:
            kept = None if aliases.challenger == change.version else aliases.challenger
            return dataclasses.replace(aliases, challenger=kept)
        case Action.HEAL | Action.ACCEPT:
            return aliases
    return Aliases(
        champion=change.version,
        challenger=aliases.challenger if _is_newer(aliases.challenger, change.version) else None,
        previous=aliases.previous if change.previous is None else change.previous,
    )


def _is_newer(challenger: str | None, version: str) -> bool:
    """Whether the challenger stays one: a version that was made after it, and took over, has answered for it."""
    return challenger is not None and int(challenger) > int(version)


def current(entries: Sequence[Entry]) -> Aliases:
    """What the aliases have to name by the ledger."""
    return entries[-1].aliases if entries else Aliases()


def ledger_time(clock: datetime, last: Entry | None) -> datetime:
    """The time of an entry that is written now, after `last`: the clock's, unless that was set back since."""
    if last is None:
        return clock
    return max(clock, last.at if last.format >= LEDGER_TIME else last.recorded)


def timeline(entries: Sequence[Entry], *, replayed: bool = False) -> list[datetime]:
    """Since when each entry holds.

    In the ledger's own time, in which none holds before the one before it. Entries of format 1 keep the time that their
    writers claimed, as long as that had come when they were written. Of a replay (`replayed`): in the time of the data.
    """
    if replayed:
        return [entry.data_until or entry.at for entry in entries]
    return [entry.at if entry.format >= LEDGER_TIME else min(entry.at, entry.recorded) for entry in entries]


def serving_at(entries: Sequence[Entry], at: datetime, *, replayed: bool = False) -> Entry | None:
    """The entry by which a version was champion at that moment; None when there was no champion.

    Of two entries that both hold at a moment, what was written later wins.
    """
    times = timeline(entries, replayed=replayed)
    known = [entry for entry, since in zip(entries, times, strict=True) if since <= at]
    if not known or known[-1].aliases.champion is None:
        return None
    began = known[-1]
    for entry in reversed(known):
        if entry.aliases.champion != began.aliases.champion:
            break
        began = entry
    return began


def waiting(entries: Sequence[Entry]) -> Entry | None:
    """The nomination of the challenger that waits for a human; None when none does."""
    challenger = current(entries).challenger
    found = nomination(entries, challenger) if challenger else None
    return found if found is not None and found.verdict == Outcome.PROMOTE else None


def nomination(entries: Sequence[Entry], version: str) -> Entry | None:
    """The newest nomination of a version; None when it was never a challenger."""
    return next((each for each in reversed(entries) if (each.action, each.version) == (Action.NOMINATE, version)), None)
