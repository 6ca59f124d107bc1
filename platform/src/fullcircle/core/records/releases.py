"""Values of releasing a model: registered versions, their aliases, and who serves since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fullcircle.core.security.identity import identity

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Registry aliases. Stages are never used."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version of a project's model."""

    name: str
    version: str
    run_id: str
    digest: str
    aliases: tuple[str, ...]
    created: datetime
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Release:
    """Who serves since when, by whose decision.

    Attributes:
        at: when it was decided, on the clock; of a release from before there was `data_until`, what its writer claimed.
        action: what the ledger calls it, one of `core.records.ledger_entries.Action`; not all of them make the version
            the champion.
        data_until: the time of the data: what was decided rests on rows before it, and in a replay it is when it
            happened. None where nobody said.
        identity: what is known of whoever decided it, see `core.security.identity`; None for one from before that was
            kept.
    """

    project: str
    version: str
    previous: str | None
    at: datetime
    reason: str
    decided_by: str
    action: str = "promote"
    data_until: datetime | None = None
    identity: Mapping[str, Any] | None = field(default_factory=identity, compare=False)
