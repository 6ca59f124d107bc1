"""Monitors one window of predictions: health, drift report, page and decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.errors import ModelUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.health import Decision, Health, PolicyState, Retrain, Rollback, Window
from fullcircle.core.records.incidents import Incident
from fullcircle.core.records.releases import CHAMPION, PREVIOUS, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.clock import refuse_ahead
from fullcircle.loop.decide import decide
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.promotion.automatic_rollback import apply_rollback
from fullcircle.loop.retraining.retrain_budget import spent, window_key
from fullcircle.loop.retraining.select_challenger import REFERENCE
from fullcircle.loop.steps import Step, plain
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.evidently_report import evidently_report
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.incidents import window_check
from fullcircle.predictions.log_reader import window
from fullcircle.store.decisions import DecisionRow, Decisions
from fullcircle.store.leases import Lease, Leases
from fullcircle.store.retrain_requests import Retrains
from fullcircle.tracking.runs.run_schema import score_tag

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MONITORING = "monitoring"
"""The folder of a champion's run that keeps what its windows came to."""


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """What was seen in one window and what is to be done.

    Attributes:
        rows: the window's rows as logged, one a row id, with the columns of an answer and `label` (NaN or
            None while unknown).
        report: the Evidently HTML report, also kept with the champion's run.
        report_url: where the MLflow UI shows the one that is kept.
    """

    project: str
    window: Window
    health: Health
    incidents: tuple[Incident, ...]
    decision: Decision
    rows: pd.DataFrame
    report: Path
    report_url: str


@retry_outages
def watch(
    project: Project,
    workspace: Workspace,
    start: datetime,
    end: datetime,
    *,
    step: Step = plain,
    lease: Lease | None = None,
) -> WatchResult:
    """Judge the predictions of [start, end) against the champion's own training data, page, and decide.

    Args:
        lease: in whose name it is decided: of a replay.

    Raises:
        ModelUnavailable: when there is no champion whose predictions could be watched.
        UsageError: the window has no moment in it, or ends ahead of the project's replay.
    """
    if start >= end:
        said = f"a window must end after it starts, got {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        raise UsageError(said, hint="--start before --end")
    refuse_ahead(project, workspace, end, "--end")
    champion = _champion(project, workspace)
    window, rows = step("read the prediction log", read_window, project, workspace.settings, start, end)
    reference = step("load the champion's reference rows", load_reference, workspace, champion)
    health = step("judge the window", judge_window, project, workspace, window, rows, reference, champion)
    report = step("write the drift report", write_report, project, workspace, health, rows, reference, champion)
    links = _links(project, workspace, champion, report)
    decision = step("decide", decide_and_record, project, workspace, health, lease)
    progress.current().stage("decide", f"{type(decision).__name__.lower()}: {decision.reason}")
    # Before the page: it says what became of it.
    rolled = (
        step("roll back", apply_rollback, project, workspace, health, decision, links)
        if isinstance(decision, Rollback)
        else ()
    )
    found = step("page on-call", page, project, workspace, health, links, rolled)
    return WatchResult(
        project=project.name,
        window=window,
        health=health,
        incidents=found,
        decision=decision,
        rows=rows,
        report=report,
        report_url=links["report"],
    )


def read_window(project: Project, settings: Settings, start: datetime, end: datetime) -> tuple[Window, pd.DataFrame]:
    """The window's predictions with the labels known so far."""
    found, rows = window(project, settings.folder("predictions", project.name), start, end)
    progress.current().stage("watch", f"{found.name}: {found.rows:,} predictions, {found.labelled:,} labels")
    return found, rows


def load_reference(workspace: Workspace, champion: ModelVersion) -> pd.DataFrame:
    """A sample of the champion's training rows with its own answers: raw inputs, the columns of an answer,
    row id."""
    import pandas as pd

    return pd.read_parquet(workspace.run_store.download(champion.run_id, REFERENCE))


def judge_window(
    project: Project,
    workspace: Workspace,
    window: Window,
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    champion: ModelVersion,
) -> Health:
    """Drift, quality and realised performance, with the previous champion's answers beside the champion's."""
    previous = previous_answers(project, workspace, rows)
    expected = champion.tags.get(score_tag(project.target))
    health = assess_window(
        project,
        window,
        rows,
        reference,
        champion_version=champion.version,
        expected=float(expected) if expected else None,
        previous=previous,
    )
    worst = f": {', '.join(health.drifted[:4])}" if health.drifted else ""
    progress.current().stage("drift", f"{len(health.drifted)} of {len(health.columns)} columns{worst}")
    return health


def previous_answers(project: Project, workspace: Workspace, rows: pd.DataFrame) -> NDArray[np.float32] | None:
    """What the previous champion would have answered; None where there is none, or it knew other classes."""
    registry = workspace.registry
    before = registry.alias(project.name, PREVIOUS)
    if before is None or rows.empty:
        return None
    graph = Graph.load(registry.graph(before), digest=before.digest)
    wanted = project.target.answers.numbers
    # The names, not their number alone: a class may have been renamed, and old graphs of one number call it anything.
    return graph(rows) if len(wanted) == len(graph.answers) == 1 or graph.answers == wanted else None


def write_report(
    project: Project,
    workspace: Workspace,
    health: Health,
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    champion: ModelVersion,
) -> Path:
    """The Evidently report of the window, on disk and with the champion's run."""
    path = workspace.settings.folder("reports", project.name) / f"{health.window.name}.html"
    evidently_report(project, health, rows, reference, path)
    run = workspace.run_store.append(champion.run_id)
    run.file(path, MONITORING)
    run.json(dataclasses.asdict(health), f"{MONITORING}/{health.window.name}.json")
    return path


def page(
    project: Project, workspace: Workspace, health: Health, links: Mapping[str, str], more: tuple[Incident, ...] = ()
) -> tuple[Incident, ...]:
    """Open, keep or resolve incidents by what this look found, `more` among it, and deliver what on-call was not
    told yet."""
    seen = window_check(project, health, links=links, more=more)
    delivered = Dispatcher(workspace.database, project, workspace.settings).report(seen)
    counts = f"{len(delivered.opened)} opened, {len(delivered.resolved)} resolved, {len(seen.faults)} going on"
    progress.current().stage("page on-call", counts)
    return seen.faults


def decide_and_record(project: Project, workspace: Workspace, health: Health, lease: Lease | None = None) -> Decision:
    """Decide once for each window and what is known of it: asked again with the same facts, the decision stands.

    With other facts - labels arrived, another champion serves - it is taken again, and the earlier one stays on record.
    One that is being carried out stands: that the champion changed may be its own doing.
    """
    database = workspace.database
    decisions = Decisions(database)
    recorded, facts = decisions.get(project.name, health.window.name), _facts(health)
    if recorded is not None and (recorded.facts in ("", facts) or _is_begun(project, workspace, recorded, health)):
        return recorded.decision
    before = workspace.registry.alias(project.name, PREVIOUS)
    state = PolicyState(retrains=spent(project, workspace), previous_version=before.version if before else None)
    decision = decide(health, project.policy, state)
    with database.session():
        Leases(database).check(*([lease] if lease else []))
        decisions.record(
            project.name, health.window.name, decision, at=health.window.end, evidence=_evidence(health), facts=facts
        )
    return decision


def _champion(project: Project, workspace: Workspace) -> ModelVersion:

    champion = workspace.registry.alias(project.name, CHAMPION)
    if champion is None:
        hint = f"'fullcircle run {project.name}' trains and releases one"
        raise ModelUnavailable(f"{project.name} has no champion to watch", hint=hint)
    return champion


def run_url(workspace: Workspace, run_id: str, artifact: str = "") -> str:
    """Where the MLflow UI shows that run, or an artifact of it, once `fullcircle ui` is up."""
    return f"{workspace.settings.mlflow_url}/{workspace.run_store.link(run_id, artifact)}"


def _links(project: Project, workspace: Workspace, champion: ModelVersion, report: Path) -> dict[str, str]:
    # Of the report that is kept with the run: whoever is paged has this machine's UI, and not its files.
    kept = run_url(workspace, champion.run_id, f"{MONITORING}/{report.name}")
    links = {"run": run_url(workspace, champion.run_id), "report": kept}
    return links | ({"runbook": project.runbook} if project.runbook else {})


def _is_begun(project: Project, workspace: Workspace, recorded: DecisionRow, health: Health) -> bool:
    """Whether a decision was begun to be carried out: its rollback was made, its retrain at least begun."""
    decision = recorded.decision
    if isinstance(decision, Rollback):
        return decision.to == health.champion_version
    key = window_key(recorded.window)
    return isinstance(decision, Retrain) and Retrains(workspace.database).get(project.name, key) is not None


def _facts(health: Health) -> str:
    """What a decision rests on: who was judged, by how many rows and labels."""
    window = health.window
    return f"v{health.champion_version}:{window.rows}:{window.labelled}"


def _evidence(health: Health) -> dict[str, Any]:
    performance = health.performance
    return {
        "champion": health.champion_version,
        "rows": health.window.rows,
        "drifted": list(health.drifted),
        **({performance.primary: performance.score.value} if performance else {}),
        **({f"expected_{performance.primary}": performance.expected} if performance else {}),
    }
