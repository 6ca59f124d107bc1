"""The replay's months as a terminal table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.apps.replay.primary_metric import ROC_AUC, PrimaryMetric

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {
    "retrain": "bold cyan", "rollback": "bold yellow", "keep": "dim",
    "promote": "bold green", "reject": "bold red", "inconclusive": "bold yellow",
}  # fmt: skip
"""Of a decision, or, after a retrain, of the verdict."""


def months_table(
    rows: Sequence[Mapping[str, Any]],
    target: str = "positive",
    metric: PrimaryMetric = ROC_AUC,
    period: str = "month",
) -> Table:
    """One line a period, with the means of both models' metric at the foot. Keys of a row: see `apps.replay.report`.

    Args:
        target: name of the target column, over the share of its positives, or their mean.
        period: what a row is of: `month`, `quarter` or `year`.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    frozen, circle = _mean(rows, "auc_frozen"), _mean(rows, "auc_champion")
    table = Table(
        title=f"The circle, {period} by {period}",
        title_justify="left",
        show_footer=bool(rows),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(period, footer="mean", no_wrap=True)
    table.add_column("rows", justify="right", footer=f"{sum(int(row['rows']) for row in rows):,}")
    table.add_column(target, justify="right", overflow="fold")
    table.add_column("never\nretrained\n" + metric.short, min_width=9, justify="right", footer=metric.value(frozen))
    table.add_column("circle\n" + metric.short, justify="right", footer=_footer(frozen, circle, metric))
    table.add_column("drifted columns", overflow="fold", min_width=13)
    table.add_column("decision", min_width=12)
    table.add_column("serves\nnow", justify="right", min_width=6)
    for row in rows:
        table.add_row(
            str(row["month"]),
            f"{int(row['rows']):,}",
            _level(row),
            metric.value(row.get("auc_frozen")),
            Text(metric.value(row.get("auc_champion")), style=_ahead(row, metric)),
            drifted_text(row, names=2),
            Text(decision_text(row), style=COLOURS.get(str(row.get("verdict") or row["decision"]), "")),
            f"v{serves_now(row)}",
        )
    return table


def drifted_text(row: Mapping[str, Any], names: int = 3) -> str:
    """`14: temp, dewp, humid, ...`: how many columns drifted, and the worst of them."""
    drifted = [str(name) for name in row.get("drifted") or ()]
    if not drifted:
        return "0"
    shown = ", ".join(drifted[:names]) + (", ..." if len(drifted) > names else "")
    return f"{len(drifted)}: {shown}"


def decision_text(row: Mapping[str, Any]) -> str:
    """The decision and, after a retrain, what the gate said: `retrain: promote`."""
    verdict = row.get("verdict")
    return f"{row['decision']}: {verdict}" if verdict else str(row["decision"])


def serves_now(row: Mapping[str, Any]) -> str:
    """The version that serves from the period's end on: the one just released, or the one that served before."""
    return str(row.get("released") or row["serving"])


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [float(row[key]) for row in rows if row.get(key) is not None]
    return sum(values) / len(values) if values else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _level(row: Mapping[str, Any]) -> str:
    return f"{row['level']:,.4g}" if row.get("level") is not None else _percent(row.get("late_share"))


def _footer(frozen: float | None, circle: float | None, metric: PrimaryMetric) -> str:
    if frozen is None or circle is None:
        return metric.value(circle)
    return f"{metric.value(circle)}\n{metric.signed(metric.gain(circle, frozen))}"


def _ahead(row: Mapping[str, Any], metric: PrimaryMetric) -> str:
    frozen, circle = row.get("auc_frozen"), row.get("auc_champion")
    if frozen is None or circle is None or circle == frozen:
        return ""
    return "green" if metric.gain(circle, frozen) > 0 else "red"
