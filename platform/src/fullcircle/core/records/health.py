"""Values of monitoring: windows, drift, data quality, performance and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time

from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks.metric import Metric, fall


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
        """A name that sorts by time and is this window's alone: `2013-04` for a calendar month, else `<start>..<end>`
        in days, or as exactly as its bounds are."""
        start, end = self.start.astimezone(UTC), self.end.astimezone(UTC)
        if (start.day, end.day) == (1, 1) and _is_midnight(start, end) and 28 <= (end - start).days <= 31:
            return f"{start:%Y-%m}"
        if _is_midnight(start, end):
            return f"{start:%Y-%m-%d}..{end:%Y-%m-%d}"
        return f"{_exact(start)}..{_exact(end)}"


def _is_midnight(*moments: datetime) -> bool:
    return all(each.time() == time(0) for each in moments)


def _exact(moment: datetime) -> str:
    """Without colons, since it is part of names of files."""
    text = f"{moment:%Y-%m-%dT%H%M}"
    return text if not (moment.second or moment.microsecond) else f"{text}{moment:%S.%f}"


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

    What it says of the primary metric are plain values: a health goes between processes, and a `Metric` is functions.

    Attributes:
        summary: what those labels look like, as the task says.
        metrics: name -> realised value, of those that are defined on these rows.
        primary: the metric that it is held against the release by; `title`, as people call it.
        greater_is_better: of the primary metric.
        expected: the primary metric as the gate measured it when the champion was released.
        relative: whether a drop counts as a share of the expected rather than in the metric's own unit.
        previous_gain: how much better the previous champion is by the primary metric on the same rows, when it was
            scored.
    """

    rows: int
    summary: Mapping[str, float]
    metrics: Mapping[str, Interval]
    primary: str
    title: str
    greater_is_better: bool
    relative: bool
    expected: float | None
    previous_gain: Interval | None = None

    @classmethod
    def by(
        cls,
        metric: Metric,
        *,
        rows: int,
        summary: Mapping[str, float],
        metrics: Mapping[str, Interval],
        expected: float | None,
        previous_gain: Interval | None = None,
    ) -> Performance:
        """What was realised, held against the release by this metric, which is among `metrics`."""
        return cls(
            rows=rows,
            summary=summary,
            metrics=metrics,
            primary=metric.name,
            title=metric.title,
            greater_is_better=metric.greater_is_better,
            relative=metric.relative,
            expected=expected,
            previous_gain=previous_gain,
        )

    @property
    def score(self) -> Interval:
        """The primary metric."""
        return self.metrics[self.primary]

    @property
    def drop(self) -> float | None:
        """How much worse the realised one is, as the policy's `tolerated_drop` counts. None: nothing is expected."""
        if self.expected is None:
            return None
        now = self.score.value
        return fall(self.expected, now, greater_is_better=self.greater_is_better, relative=self.relative)

    @property
    def best(self) -> float:
        """The good end of the primary metric's interval."""
        return self.score.high if self.greater_is_better else self.score.low

    @property
    def wrong_side(self) -> str:
        """Where a worse value lies: `below` or `above`."""
        return "below" if self.greater_is_better else "above"

    def amount(self, share: float) -> float:
        """So much of the primary metric as a policy's figure means: of an error with a unit that share of its value."""
        return share * abs(self.score.value) if self.relative else share

    def tolerated(self, drop: float) -> float | None:
        """The primary metric at which so large a drop is reached; None while nothing is expected."""
        if self.expected is None:
            return None
        by = drop * abs(self.expected) if self.relative else drop
        return self.expected - by if self.greater_is_better else self.expected + by


@dataclass(frozen=True, kw_only=True)
class VersionHealth:
    """What one model version answered in a window that several versions answered.

    Attributes:
        rows, labelled: of its answers.
        prediction: drift of its answers against the champion's on the reference; None where they are too few.
        performance: realised, of its answers alone; None while too few labels have arrived.
    """

    version: str
    rows: int
    labelled: int
    prediction: ColumnDrift | None
    performance: Performance | None


@dataclass(frozen=True, kw_only=True)
class Health:
    """Drift, quality and realised performance of one window, against the champion's own training data.

    Attributes:
        prediction, performance: of the champion's own answers, where the window has enough of them; else of all.
        versions: of a window that several versions answered, what each did.
    """

    window: Window
    champion_version: str
    columns: tuple[ColumnDrift, ...]
    prediction: ColumnDrift | None
    quality: tuple[QualityIssue, ...]
    performance: Performance | None
    drifted_share_limit: float
    enough_rows: bool = True
    versions: tuple[VersionHealth, ...] = ()

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
        """How much worse the primary metric is than the gate had measured, see `Performance.drop`; None while labels or
        a gate figure are missing."""
        return None if self.performance is None else self.performance.drop


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
