"""How the replay's tables, charts and sentences speak of the metric that its months are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fullcircle.core.project import Task


@dataclass(frozen=True, kw_only=True)
class PrimaryMetric:
    """The task's primary metric in words. The default is that of rows which an earlier version kept.

    Attributes:
        title: "ROC AUC".
        short: the same at the head of a narrow column: "AUC".
        unit: of an error: "rentals"; else "".
        relative: whether differences are shares of the value.
    """

    title: str = "ROC AUC"
    short: str = "AUC"
    unit: str = ""
    greater_is_better: bool = True
    relative: bool = False

    @classmethod
    def of(cls, task: Task) -> PrimaryMetric:
        """The words of a task's primary metric."""
        metric = task.main
        short = "AUC" if metric.name == "roc_auc" else metric.name.replace("_", " ")
        return cls(
            title=metric.title,
            short=short.upper() if len(short) <= 4 else short,
            unit=metric.unit,
            greater_is_better=metric.greater_is_better,
            relative=metric.relative,
        )

    @property
    def what(self) -> str:
        """The title with the unit: "mean absolute error (rentals)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def mean(self) -> str:
        """Of the months' values: "mean ROC AUC"."""
        return self.what if self.title.startswith("mean ") else f"mean {self.what}"

    @property
    def axis(self) -> str:
        """Beside a chart: "MAE (rentals)"."""
        return f"{self.short} ({self.unit})" if self.unit else self.title

    def gain(self, circle: float, frozen: float) -> float:
        """By how much the circle is better: above 0 is better, whichever way the metric goes."""
        return circle - frozen if self.greater_is_better else frozen - circle

    def value(self, value: float | None, none: str = "-") -> str:
        """A value in a table: shares and areas with three digits, errors in their unit with four that count."""
        if value is None:
            return none
        return f"{value:,.4g}" if self.relative else f"{value:.3f}"

    def signed(self, value: float | None, digits: int = 3) -> str:
        """A gain with its sign."""
        if value is None:
            return ""
        return f"{value:+,.4g}" if self.relative else f"{value:+.{digits}f}"

    def apart(self, one: float, other: float) -> float:
        """How far two models are apart: of an error as a share of the smaller one."""
        scale = min(abs(one), abs(other)) if self.relative else 1.0
        return abs(one - other) / scale if scale else abs(one - other)


ROC_AUC = PrimaryMetric()
"""Of yes or no, and of rows from before there was anything else."""


def headline(rows: Sequence[Mapping[str, Any]], metric: PrimaryMetric) -> dict[str, Any]:
    """The report's few large numbers. Means are over the months in which both models could be judged."""
    both = [row for row in rows if row.get("auc_frozen") is not None and row.get("auc_champion") is not None]
    frozen = sum(float(row["auc_frozen"]) for row in both) / len(both) if both else None
    circle = sum(float(row["auc_champion"]) for row in both) / len(both) if both else None
    return {
        "frozen": frozen,
        "circle": circle,
        "gain": metric.gain(circle, frozen) if circle is not None and frozen is not None else None,
        "ahead": sum(metric.gain(float(row["auc_champion"]), float(row["auc_frozen"])) > 0 for row in both),
        "judged": len(both),
        "rows": sum(int(row["rows"]) for row in rows),
        "retrains": sum(bool(row.get("retrained")) for row in rows),
        "promoted": sum(bool(row.get("promoted")) for row in rows),
        "first": str(rows[0]["month"]) if rows else "",
        "last": str(rows[-1]["month"]) if rows else "",
    }
