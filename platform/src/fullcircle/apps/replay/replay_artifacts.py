"""What a replay's flow run publishes in the Prefect UI: a table with one row a month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fullcircle.apps.replay.replay import ReplayResult
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.artifacts import publish_table


def show_replay(result: ReplayResult, workspace: Workspace) -> None:
    """One row a month."""
    publish_table(result.project, "months", months_table(result.rows), _title(result))


def _title(result: ReplayResult) -> str:
    return f"{result.project}: gain in mean {result.metric.short} {result.metric.signed(result.gain, 4)}"


def months_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each month of a replay, figures as text."""
    shown = ("month", "rows", "late_share", "auc_frozen", "auc_champion", "decision", "reason", "serving")
    return [
        {key: f"{row[key]:.4f}" if isinstance(row.get(key), float) else str(row.get(key)) for key in shown}
        | {"drifted": ", ".join(row.get("drifted") or ())}
        for row in rows
    ]
