"""Prefect artifacts of a flow run: tables of what was judged, links to the run and the report.

The UI renders descriptions, links and the cells of a table as Markdown.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.security.untrusted import markdown
from fullcircle.loop.retraining.retrain_result import RetrainResult
from fullcircle.loop.watch import WatchResult
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.api_probe import require_api


def show_retrain(result: RetrainResult, workspace: Workspace) -> None:
    """Metrics of every candidate, on all rows and on groups of them, the gates, and a link to the MLflow run."""
    publish_table(
        result.project, "metrics", metrics_table(result), f"{result.project}: candidates on the same test rows"
    )
    if slices := slices_table(result.evaluations):
        publish_table(result.project, "slices", slices, f"{result.project}: groups of the same test rows")
    word = f"{result.verdict.outcome}: {'; '.join(result.verdict.reasons)}"
    publish_table(result.project, "gates", gates_table(result), f"version {result.version.version}, {word}")
    _link(result.project, "mlflow-run", run_url(result.run_id, workspace), "the retrain in MLflow")


def show_watch(result: WatchResult, workspace: Workspace) -> None:
    """What drifted, how the champion did, and a link to the drift report, if one was written."""
    decision = f"{type(result.decision).__name__.lower()}: {result.decision.reason}"
    publish_table(result.project, "drift", drift_table(result), f"{result.window.name}, {decision}")
    if result.report_url:
        _link(result.project, "drift-report", result.report_url, f"drift report of {result.window.name}")


def metrics_table(result: RetrainResult) -> list[dict[str, Any]]:
    """A row for each candidate: framework, rows, and each metric with its 95% interval."""
    return [
        {"candidate": name, "rows": found.rows, **{key: str(value) for key, value in found.metrics.items()}}
        for name, found in result.evaluations.items()
    ]


def slices_table(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """A row for each group of rows, actual classes among them: its rows, and each candidate's metric on them."""
    same_rows = zip(*(each.slices for each in evaluations.values()), strict=True)
    return [
        {
            "slice": f"{scores[0].column} = {scores[0].group}",
            "rows": scores[0].rows,
            "metric": scores[0].metric if scores[0].judged else f"{scores[0].metric} (too few rows to judge)",
            **{name: str(score.score) for name, score in zip(evaluations, scores, strict=True)},
        }
        for scores in same_rows
    ]


def gates_table(result: RetrainResult) -> list[dict[str, Any]]:
    """A row for each gate: its name, whether it passed, and the numbers."""
    return [
        {"gate": gate.gate, "passed": "yes" if gate.passed else "no", "detail": gate.detail}
        for gate in result.verdict.gates
    ]


def drift_table(result: WatchResult) -> list[dict[str, Any]]:
    """A row for each column, drifted ones first."""
    columns = sorted(result.health.columns, key=lambda column: column.threshold - column.distance)
    return [
        {
            "column": column.column,
            "drifted": "yes" if column.drifted else "no",
            "distance": f"{column.distance:.4f}",
            "threshold": f"{column.threshold:.4f}",
            "method": column.method,
        }
        for column in columns
    ]


def shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the UI may show them, whatever column names and reasons are in them."""
    return [
        {markdown(key): markdown(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]


def run_url(run_id: str, workspace: Workspace) -> str:
    """Where `fullcircle ui` shows an MLflow run."""
    return f"{workspace.settings.mlflow_url}/{workspace.run_store.link(run_id)}"


@contextlib.contextmanager
def tagged(*found: str) -> Iterator[None]:
    """Tag this flow run and the task runs of this block."""
    from prefect import tags
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, *found}))
    with tags(*found):
        yield


def publish_table(project: str, what: str, rows: list[dict[str, Any]], description: str) -> None:
    """Publish rows as a table artifact of this flow run; all text in it is escaped for Markdown."""
    require_api()
    from prefect.artifacts import create_table_artifact

    create_table_artifact(shown(rows), key=_key(project, what), description=markdown(description))


def _link(project: str, what: str, link: str, text: str) -> None:
    from prefect.artifacts import create_link_artifact

    create_link_artifact(link, markdown(text), key=_key(project, what))


def _key(project: str, what: str) -> str:
    # Prefect takes lower-case letters, digits and dashes alone.
    return re.sub(r"[^a-z0-9-]", "-", f"{project}-{what}")
