"""Values of incidents: what on-call should know of, and how loudly to say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How loudly to say it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that on-call should know of.

    Attributes:
        key: dedup key: the same cause on the same project is the same incident.
        cause: `drift`, `degraded` or `quality`.
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
