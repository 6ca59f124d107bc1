"""Lineage values: the nodes of a trace (backwards) and of an impact analysis (forwards). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fullcircle.core.records.ledger_entries import Entry, timeline


class NodeKind(StrEnum):
    """The links between a prediction and what it came from, in the order in which they are walked."""

    PREDICTION = "prediction"
    VERSION = "model version"
    RUN = "run"
    CODE = "code"
    ENVIRONMENT = "environment"
    DATA = "data version"
    VERDICT = "verdict"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class MissingNode:
    """Something that a link should have and has not: what it is, why it matters, and what to do about it."""

    what: str
    why: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class TraceNode:
    """One link of the walk.

    Attributes:
        title: what was found, in a few words; "" when nothing was.
        facts: name -> value of what was found, as docs/lineage.md lists them.
        missing: empty when the link is whole.
    """

    kind: NodeKind
    title: str = ""
    facts: Mapping[str, object]
    missing: tuple[MissingNode, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A prediction and all that it came from, one link for each `NodeKind`."""

    prediction_id: str
    project: str
    links: tuple[TraceNode, ...]

    @property
    def missing(self) -> tuple[MissingNode, ...]:
        """What is missing anywhere."""
        return tuple(each for link in self.links for each in link.missing)

    def __getitem__(self, kind: NodeKind) -> TraceNode:
        return next(link for link in self.links if link.kind is kind)


@dataclass(frozen=True, kw_only=True)
class ChampionPeriod:
    """A version's time as champion.

    Attributes:
        since, until: in ledger time, or in the time of a replay; None: still.
        recorded, replaced: when the entries were written, on the clock.
        entry: by which it became the champion.
    """

    version: str
    since: datetime
    until: datetime | None
    recorded: datetime
    replaced: datetime | None
    entry: Entry

    def seconds_off(self, moment: datetime) -> float:
        """How far a moment of the clock lies outside of this term; 0 within."""
        if self.replaced is not None and self.replaced < self.recorded:  # the clock was set back: both sides are within
            return max(0.0, min((self.recorded - moment).total_seconds(), (moment - self.replaced).total_seconds()))
        if moment < self.recorded:
            return (self.recorded - moment).total_seconds()
        return max(0.0, (moment - self.replaced).total_seconds()) if self.replaced else 0.0


@dataclass(frozen=True, kw_only=True)
class AffectedRun:
    """A run that is affected. `kind` is what it was for: `retrain`, `candidate`, `train`."""

    project: str
    run_id: str
    name: str
    kind: str
    status: str
    data_digest: str


@dataclass(frozen=True, kw_only=True)
class Affected:
    """A model version that is affected, when it served, and what it answered.

    Attributes:
        registered: False when it is known from the ledger or the prediction log alone: somebody deleted it.
        predictions: how many answers in the log are its own, for events from `first` to `last`.
    """

    project: str
    version: str
    digest: str
    run_id: str
    data_digest: str
    registered: bool
    champion_periods: tuple[ChampionPeriod, ...]
    predictions: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class Impact:
    """What came from `name`, a `kind` of thing: `data version`, `data file`, `run` or `model version`.

    Attributes:
        data: digests of the data versions that it is, or is in.
    """

    kind: str
    name: str
    data: tuple[str, ...]
    runs: tuple[AffectedRun, ...]
    versions: tuple[Affected, ...]

    @property
    def predictions(self) -> int:
        """How many logged predictions came from it."""
        return sum(each.predictions for each in self.versions)

    @property
    def releases(self) -> int:
        """How often a version that came from it became the champion."""
        return sum(len(each.champion_periods) for each in self.versions)


def champion_periods(entries: Sequence[Entry], *, replayed: bool = False) -> tuple[ChampionPeriod, ...]:
    """All champions' terms by a project's ledger (oldest entry first), in the order in which they began.

    Args:
        replayed: in the time of a replay; else in ledger time.
    """
    times = {entry.seq: since for entry, since in zip(entries, timeline(entries, replayed=replayed), strict=True)}
    changes = list(_changes(entries))
    ends: list[Entry | None] = [*changes[1:], None] if changes else []
    return tuple(
        ChampionPeriod(
            version=began.aliases.champion,
            since=times[began.seq],
            until=times[ended.seq] if ended else None,
            recorded=began.recorded,
            replaced=ended.recorded if ended else None,
            entry=began,
        )
        for began, ended in zip(changes, ends, strict=True)
        if began.aliases.champion is not None
    )


def _changes(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries after which the champion is another one than before, or none."""
    champion: str | None = None
    for entry in entries:
        if entry.aliases.champion != champion:
            champion = entry.aliases.champion
            yield entry
