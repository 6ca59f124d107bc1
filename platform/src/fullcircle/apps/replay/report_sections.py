"""Sections of the replay report beside the months: explanation, reliability, page, model cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.alerting.page import page
from fullcircle.apps.replay.periods import later
from fullcircle.apps.replay.replay import ReplayResult
from fullcircle.apps.replay.report import CandidateScore, ReportExtras, write_report
from fullcircle.apps.replay.report_charts import Curve
from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import Severity
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop.watch import run_url
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.log_reader import window
from fullcircle.store.incidents.incident_table import Incidents

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELIABILITY_BINS = 10
_LOUDNESS = {"failure": 2, "warning": 1}  # how Apprise names critical and warning in what it posts


def build_report(
    project: Project, workspace: Workspace, result: ReplayResult, pages: Sequence[Mapping[str, Any]], started: datetime
) -> tuple[Path, Mapping[str, Any] | None]:
    """Write the replay's report. Returns its path and the page that it shows: the newest alarm that on-call got."""
    registry = workspace.registry
    champion = registry.version(project.name, CHAMPION)
    frozen = registry.version(project.name, result.frozen_version)
    page = _page(project, workspace, pages)
    extras = ReportExtras(
        started=started,
        generated_by="fullcircle replay",
        drift={row["month"]: row["drift"] for row in result.rows},
        reliability=_reliability(project, workspace, result, frozen),
        shap_png=_artifact(workspace, champion, "explanation/shap_summary.png"),
        page=page,
        candidates=_candidates(result),
        cards=_cards(workspace, champion),
        links=_links(project, workspace, champion),
        notes=(project.replay.note,) if project.replay.note else (),
    )
    path = workspace.settings.folder("reports", project.name) / "replay.html"
    return write_report(project, result.rows, extras, path), page


def _page(project: Project, workspace: Workspace, pages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The worst alarm of this replay, the newest of equals; where this replay paged nobody, the project's worst."""
    alarms = [received for received in pages if "resolved" not in str(received.get("title", ""))]
    if alarms:
        return max(enumerate(alarms), key=lambda item: (_LOUDNESS.get(str(item[1].get("type")), 0), item[0]))[1]
    incidents = Incidents(workspace.database).all(project.name)
    if not incidents:
        return None
    worst = max(incidents, key=lambda row: (list(Severity).index(row.incident.severity), row.incident.since))
    shown = page(worst.incident, kind="open", project=project)
    return {"title": shown.title, "message": shown.body}


def _candidates(result: ReplayResult) -> tuple[CandidateScore, ...]:
    first = result.rows[0] if result.rows else {}
    # An earlier version knew one metric, and called the value by its name.
    known = [{"value": score.get("roc_auc"), **score} for score in first.get("candidates", ())]
    return tuple(CandidateScore(**{key: each for key, each in score.items() if key != "roc_auc"}) for score in known)


def _reliability(
    project: Project, workspace: Workspace, result: ReplayResult, frozen: ModelVersion
) -> tuple[tuple[str, Curve], ...]:
    """Of the last month's answers: the champion's as logged, and the never-retrained model's on the same rows."""
    if not result.rows or "reliability" not in project.target.plots:
        return ()
    last = str(result.rows[-1]["month"])
    start, end = _span(result.rows[-1])
    folder = workspace.settings.folder("predictions", project.name)
    _, rows = window(project, folder, start, end)
    rows = rows[rows["label"].notna()]
    if rows.empty:
        return ()
    labels, never = rows["label"].to_numpy(), Graph.load(workspace.registry.graph(frozen), digest=frozen.digest)(rows)
    logged = project.target.answers.of(rows)
    return ((f"the circle, {last}", _bins(logged, labels)), (f"never retrained, {last}", _bins(never, labels)))


def _span(row: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The first moment of a row's period and the first one after it; an earlier version knew months alone."""
    if "start" in row:
        return datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"])
    start = datetime.strptime(str(row["month"]), "%Y-%m").replace(tzinfo=UTC)
    return start, later(start, 1)


def _bins(answers: NDArray[np.float32], labels: NDArray[np.float64]) -> Curve:
    """Mean predicted probability, observed share and rows of bins of equal count."""
    order = np.argsort(answers, kind="stable")
    answers, labels = answers[order], labels[order]
    edges = [number * len(order) // RELIABILITY_BINS for number in range(RELIABILITY_BINS + 1)]
    spans = [slice(begin, end) for begin, end in pairwise(edges) if end > begin]
    return tuple((float(answers[span].mean()), float(labels[span].mean()), len(labels[span])) for span in spans)


def _artifact(workspace: Workspace, version: ModelVersion, artifact: str) -> Path | None:

    try:
        return workspace.run_store.download(version.run_id, artifact)
    except FullcircleError:
        return None  # a run without that picture still makes a report


def _cards(workspace: Workspace, champion: ModelVersion) -> dict[str, str]:
    card = _artifact(workspace, champion, "model_card.md")
    return {f"Version {champion.version}, the champion": card.read_text(encoding="utf-8")} if card else {}


def _links(project: Project, workspace: Workspace, champion: ModelVersion) -> dict[str, str]:
    models = f"{workspace.settings.mlflow_url}/#/models/{project.name}"
    return {"the champion's run (fullcircle ui)": run_url(workspace, champion.run_id), "its model versions": models}
