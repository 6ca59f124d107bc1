"""Values of incidents: one fault each, what a check of a window says of every fault, and how loud to be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

APPROVAL = "approval"
"""The cause of an incident that no window sees: a challenger waits for a human."""
OVERDUE = "overdue"
"""The cause of an incident that no window sees: no window was watched for too long."""
STANDING = frozenset({APPROVAL, OVERDUE})
"""Causes whose incidents stay open until whoever opened them says that they are over."""
MAX_KEY = 200
"""Characters of a key. A longer one, of a column with a very long name, ends with a digest of the rest."""


class Severity(StrEnum):
    """How loudly to say it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the quietest: as text `critical` would come before `info`."""
        return list(Severity).index(self)


class FaultState(StrEnum):
    """What a check says of one fault. Unknown is not healthy: it neither opens an incident nor closes one."""

    BAD = "bad"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"


def incident_key(project: str, cause: str, subject: str = "") -> str:
    """The key of a fault: the same cause of the same subject in the same project is the same incident."""
    key = ":".join(filter(None, (project, cause, subject)))
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 33]}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One fault that on-call should know of.

    Attributes:
        key: dedup key, see `incident_key`.
        cause: the kind of fault: `drift`, `degraded`, `missing`, `out of range`, ...
        subject: the column that it is a fault of; "" for one of the whole window.
        since, seen: start of the first and end of the newest window that showed it, in the time of the data.
        columns: the top columns, worst first.
        links: what it is -> URL or path: run, report, runbook.
    """

    key: str
    project: str
    cause: str
    severity: Severity
    title: str
    since: datetime
    seen: datetime
    columns: tuple[str, ...]
    evidence: Mapping[str, str]
    links: Mapping[str, str]
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class WindowCheck:
    """What one check of one window said of every fault that it could judge.

    Attributes:
        start, end: the exact bounds of the window, which are its identity.
        champion: the version that was judged.
        rows, labelled: what there was to judge by. They grow while a window's rows and labels arrive.
        faults: what is wrong.
        subjects: the columns that were checked: of any other one nothing is known.
        unknown: causes, and keys of single faults, that could not be judged: too few rows, no labels.
        quiet: whether nothing at all could be judged.
    """

    project: str
    start: datetime
    end: datetime
    champion: str
    rows: int
    labelled: int
    faults: tuple[Incident, ...] = ()
    subjects: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    quiet: bool = False

    def state_of(self, fault: Incident) -> FaultState:
        """What this check says of a fault that some check has found."""
        if self.found(fault) is not None:
            return FaultState.BAD
        is_unseen = bool(fault.subject) and fault.subject not in self.subjects
        if self.quiet or is_unseen or fault.cause in self.unknown or fault.key in self.unknown:
            return FaultState.UNKNOWN
        return FaultState.HEALTHY

    def found(self, fault: Incident) -> Incident | None:
        """The same fault as this check found it, or None."""
        return self._by_key.get(fault.key)

    @cached_property
    def _by_key(self) -> Mapping[str, Incident]:
        return {each.key: each for each in self.faults}
