"""One row of the replay report, for one period: both models, drift, decision, who served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.apps.replay.periods import Period
from fullcircle.core.project import Project, Task
from fullcircle.core.records.health import Keep, Retrain, Rollback
from fullcircle.core.records.releases import ModelVersion
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop.retraining.select_challenger import CANDIDATES, GRAPH
from fullcircle.loop.watch import WatchResult, run_url
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.performance import performance, window_clusters

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def period_row(
    project: Project,
    workspace: Workspace,
    period: Period,
    seen: WatchResult,
    serving: ModelVersion,
    frozen: ModelVersion,
) -> dict[str, Any]:
    """One period as the table and the report show it (see apps/replay/report.py for the keys)."""
    task = project.target
    labelled, labels = known_rows(task, seen.rows)
    answers = Graph.load(workspace.registry.graph(frozen), digest=frozen.digest)(labelled) if len(labelled) else None
    never = performance(task, labels, answers) if answers is not None else None
    realised = seen.health.performance
    level = task.level(task.label_codec.logged(labels)) if len(labels) else None
    return (
        {
            "month": period.name,
            "start": period.start.isoformat(),
            "end": period.end.isoformat(),
            "rows": seen.window.rows,
            "late_share": level if task.level_is_share else None,
            "auc_frozen": never.score.value if never else None,
            "auc_champion": realised.score.value if realised else None,
            "auc_champion_low": realised.score.low if realised else None,
            "auc_champion_high": realised.score.high if realised else None,
            "drifted": list(seen.health.drifted),
            "drifted_share": seen.health.drifted_share,
            "drift": {c.column: c.distance / max(c.threshold, 1e-12) for c in seen.health.columns},
            "decision": {Retrain: "retrain", Rollback: "rollback", Keep: "keep"}[type(seen.decision)],
            "reason": seen.decision.reason,
            "serving": serving.version,
            "incidents": [incident.title for incident in seen.incidents],
            "retrained": False,
            "promoted": False,
            "verdict": None,
            "run_url": run_url(workspace, serving.run_id),
            "report_url": seen.report.name if seen.report is not None else None,
            "done": False,
        }
        | ({} if task.level_is_share else {"level": level})
        | (
            {"candidates": _candidates(project, workspace, frozen, labelled)}
            if frozen.version == serving.version
            else {}
        )
    )


def known_rows(task: Task, rows: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The rows whose label is known, and those labels, (rows,) or (rows, labels)."""
    labels = task.label_codec.known_labels(rows["label"])
    known = task.label_codec.are_known(labels)
    return rows.iloc[np.flatnonzero(known)], labels[known]


def _candidates(
    project: Project, workspace: Workspace, first: ModelVersion, rows: pd.DataFrame
) -> list[dict[str, Any]]:
    """How each candidate of the first retrain does on rows that none of them has seen: report.CandidateScore."""
    import json

    run_store = workspace.run_store
    runs = json.loads(run_store.download(first.tags["fullcircle.retrain"], CANDIDATES).read_text())
    scores = []
    for framework, found in runs.items():
        answers = (
            Graph.load(run_store.download(found["run_id"], GRAPH))(rows)
            if len(rows)
            else project.target.answers.of(rows)
        )
        clusters = window_clusters(project, rows)
        seen = performance(project.target, known_rows(project.target, rows)[1], answers, clusters=clusters)
        if seen is not None:
            score = seen.score
            figures = {"value": score.value, "low": score.low, "high": score.high, "seconds": found["seconds"]}
            scores.append({"framework": framework, "run_url": run_url(workspace, found["run_id"]), **figures})
    return scores
