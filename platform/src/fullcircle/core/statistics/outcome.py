"""Outcome of a gate: promote, reject, inconclusive."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What a gate can say."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"
