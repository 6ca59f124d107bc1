"""The champion ledger's values: what was done to the aliases, what they named afterwards, and who served when. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fullcircle.core.models import CHALLENGER, CHAMPION, PREVIOUS, Outcome, Release


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
        at: since when it holds: on the clock, or in the time of the data in a replay of the past. UTC.
        recorded: when it was written, on the clock. UTC.
        version: what it is about; "" where no version is left (a heal that found no champion to put back).
        previous: what the alias `champion` named before.
        verdict: the gate's outcome for the version, "" when none was recorded.
        model_digest, data_digest: SHA-256 of the graph and digest of the data version, "" when not known.
        aliases: what the aliases name after it.
        format: how `hash` is computed; 1 is SHA-256 over canonical JSON of all other fields.
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


def serving_at(entries: Sequence[Entry], at: datetime) -> Entry | None:
    """The entry by which a version was champion at that moment; None when there was no champion.

    What was written later wins: in a replay of the past, `at` may lie before that of an earlier entry.
    """
    known = [entry for entry in entries if entry.at <= at]
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
    for entry in reversed(entries):
        if entry.action is Action.NOMINATE and entry.version == challenger:
            return entry if entry.verdict == Outcome.PROMOTE else None
    return None
