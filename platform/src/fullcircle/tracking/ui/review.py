"""Review page in the MLflow UI: a saved view of the runs, and the description of a retrain. Pure.

MLflow keeps the columns of a list in the browser that chose them. A *saved view* is the one choice that everybody has:
a tag of the experiment, offered under "Views" and opened by a link. Its format is that of MLflow 3.17's own button.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping

from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.records.verdicts import Evaluation, Verdict
from fullcircle.core.security.untrusted import markdown
from fullcircle.core.statistics.interval import Interval, in_digits, in_few_digits
from fullcircle.core.tasks import Task
from fullcircle.tracking.runs import run_tags
from fullcircle.tracking.ui.ui_links import links, run_page

VIEW = "fullcircle-review"
"""Key of the saved view, as the address of its page names it."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""Tag of the experiment that holds it."""

VERDICT, WINNER, INTERVAL, CHAMPION = "verdict", "winner", "95 interval", "champion"
FROM, UNTIL = "rows from", "rows until"

CARD, SHAP = "model_card.md", "explanation/shap_summary.png"
"""Artifacts of the winner's run that the retrain's run shows, too."""
_MADE_MS = 1_764_201_600_000  # a fixed moment: the same view is the same text, and is not written again


def review_columns(task: Task) -> tuple[str, ...]:
    """Tags of a run, in the order of the view's columns. Short, as the values are: a column shows 13 characters."""
    return VERDICT, WINNER, score_column(task), INTERVAL, CHAMPION, FROM, UNTIL


def saved_view(task: Task) -> dict[str, str]:
    """The tag of an experiment that offers the view "Review"."""
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"tags.`{name}`" for name in review_columns(task)],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    return {VIEW_TAG: json.dumps({"name": "Review", "createdAt": _MADE_MS, "updatedAt": _MADE_MS, "state": packed})}


def review_page(experiment_id: str) -> str:
    """The list of an experiment's runs in the saved view, in MLflow's views for model training."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"


def score_tags(task: Task, evaluation: Evaluation) -> dict[str, str]:
    """How good, for the list of runs: the primary metric on the test rows, and its 95% interval."""
    found = evaluation.metrics.get(task.primary)
    if found is None:
        return {}
    ends = f"{in_few_digits(found.low)}..{in_few_digits(found.high)}"
    return {score_column(task): in_digits(found.value), INTERVAL: ends}


def score_column(task: Task) -> str:
    """The tag, and column of the view, that says how good a retrain's winner is: its primary metric's title."""
    return task.main.title


def rows_tags(version: DataVersion) -> dict[str, str]:
    """From when to when the rows are, for the list of runs."""
    return {FROM: f"{version.start:%Y-%m-%d}", UNTIL: f"{version.end:%Y-%m-%d}"}


def verdict_tags(winner: str, verdict: Verdict, version: ModelVersion, promoted: bool) -> dict[str, str]:
    """What came of a retrain, for the list of runs. The champion is the one after it."""
    before = verdict.champion_version
    if promoted:
        champion = f"{version.version}, was {before}" if before else f"{version.version}, the first"
    else:
        champion = f"{before} stays" if before else "none yet"
    return {VERDICT: str(verdict.outcome), WINNER: winner, CHAMPION: champion, run_tags.VERSION: version.version}


def retrain_note(
    experiment_id: str,
    *,
    run_id: str,
    winner: str,
    winner_run_id: str,
    verdict: Verdict,
    version: ModelVersion,
    promoted: bool,
    task: Task,
    metrics: Mapping[str, Interval],
    data: DataVersion,
) -> str:
    """A retrain's description in Markdown: what was decided and why, before all that leads on."""
    released = "is the champion" if promoted else "is not released"
    lines = [f"**{verdict.outcome}**: {markdown(winner)}, version {version.version}, {released}"]
    if task.primary in metrics:
        lines[0] += f"; {task.main.heading} {metrics[task.primary]} on {verdict.rows:,} test rows"
    lines += ["", *(f"- {markdown(reason)}" for reason in verdict.reasons), ""]
    named = (version.name, version.version)
    lines.append(links(experiment_id, winner=winner_run_id, version=named, data=data.digest).strip())
    if experiment_id:
        pages = (("model card", CARD), ("what moves its answers", SHAP))
        lines.append("· " + " · ".join(f"[{name}]({run_page(experiment_id, run_id, at)})" for name, at in pages))
    return "\n".join(lines)
