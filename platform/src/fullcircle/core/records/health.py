"""Values of monitoring: windows, drift, data quality, performance, incidents and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fullcircle.core.statistics.interval import Interval


@dataclass(frozen=True, kw_only=True)
class Window:
    """A span of logged predictions [start, end), UTC, with the labels known so far."""

    project: str
    start: datetime
    end: datetime
    rows: int
    labelled: int
    versions: tuple[str, ...]

    @property
    def name(self) -> str:
        """A short name that sorts by time: `2013-04` for a calendar month, else `<start>..<end>` in days."""
        whole_month = self.start.day == 1 and self.end.day == 1 and (self.end - self.start).days <= 31
        return f"{self.start:%Y-%m}" if whole_month else f"{self.start:%Y-%m-%d}..{self.end:%Y-%m-%d}"


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """The distance between one column's window and its reference, and the threshold that it is held against."""

    column: str
    method: str
    distance: float
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is over the threshold."""
        return self.distance > self.threshold


@dataclass(frozen=True, kw_only=True)
class QualityIssue:
    """One thing wrong with a window's data: missing values, unknown categories, values out of range."""

    column: str
    issue: str
    share: float
    reference_share: float


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Realised performance on the rows whose labels arrived.

    Attributes:
        expected_auc: what the gate measured when the champion was released.
        previous_gain: ROC AUC of the previous champion minus the champion's on the same rows, when it was scored.
    """

    rows: int
    positives: int
    roc_auc: Interval
    log_loss: Interval
    brier: Interval
    expected_auc: float | None
    previous_gain: Interval | None = None


class Severity(StrEnum):
    """How loudly to say it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, kw_only=True)
class Health:
    """Drift, quality and realised performance of one window, against the champion's own training data."""

    window: Window
    champion_version: str
    columns: tuple[ColumnDrift, ...]
    prediction: ColumnDrift | None
    quality: tuple[QualityIssue, ...]
    performance: Performance | None
    drifted_share_limit: float
    enough_rows: bool = True

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the drifted columns, largest distance over threshold first."""
        over = [column for column in self.columns if column.drifted]
        return tuple(c.column for c in sorted(over, key=lambda c: -c.distance / max(c.threshold, 1e-12)))

    @property
    def drifted_share(self) -> float:
        """Share of the watched columns that drifted."""
        return len(self.drifted) / len(self.columns) if self.columns else 0.0

    @property
    def is_drifted(self) -> bool:
        """Whether so many columns drifted that the window as a whole counts as drifted."""
        return self.enough_rows and self.drifted_share >= self.drifted_share_limit

    def drop(self) -> float | None:
        """Fall of ROC AUC below what the gate had measured; None while labels or a gate figure are missing."""
        if self.performance is None or self.performance.expected_auc is None:
            return None
        return self.performance.expected_auc - self.performance.roc_auc.value


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


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train a challenger on newer data."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Give the traffic back to version `to`."""

    to: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Leave things as they are."""

    reason: str


Decision = Retrain | Rollback | Keep


@dataclass(frozen=True, kw_only=True)
class PolicyState:
    """What the policy must remember: when retrains happened (data time) and who served before."""

    retrains: tuple[datetime, ...] = ()
    previous_version: str | None = None
