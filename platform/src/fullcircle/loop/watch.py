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
from fullcircle.loop import progress
from fullcircle.loop.clock import refuse_ahead
from fullcircle.loop.decide import decide
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.promotion.automatic_rollback import apply_rollback
from fullcircle.loop.retraining.retrain_budget import spent, window_key
from fullcircle.loop.seen_window import SeenWindow, judge_window, load_reference, read_window
from fullcircle.loop.steps import Step, plain
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.evidently_report import evidently_report
from fullcircle.monitoring.incidents import incidents, window_check
from fullcircle.store.decisions import DecisionRow, Decisions
from fullcircle.store.leases import Lease, Leases
from fullcircle.store.retrain_requests import Retrains

if TYPE_CHECKING:
    import pandas as pd

MONITORING = "monitoring"
"""The folder of a champion's run that keeps what its windows came to."""


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """What was seen in one window and what is to be done.

    Attributes:
        seen: what was read.
        report: the Evidently HTML report, also kept with the champion's run; None where none was asked for, and
            nothing is wrong.
        report_url: where the MLflow UI shows the one that is kept; "" where there is none.
    """

    project: str
    window: Window
    health: Health
    incidents: tuple[Incident, ...]
    decision: Decision
    seen: SeenWindow
    report: Path | None
    report_url: str

    @property
    def rows(self) -> pd.DataFrame:
        """The window's rows as logged, one a row id, with the columns of an answer and `label` (NaN or None while
        unknown); of a large window a sample of them, see `SeenWindow.sample`."""
        return self.seen.sample()


@retry_outages
def watch(
    project: Project,
    workspace: Workspace,
    start: datetime,
    end: datetime,
    *,
    step: Step = plain,
    lease: Lease | None = None,
    report: bool = True,
) -> WatchResult:
    """Judge the predictions of [start, end) against the champion's own training data, page, and decide.

    Args:
        lease: in whose name it is decided: of a replay.
        report: write Evidently's report; without it there is one only for a window with an incident.

    Raises:
        ModelUnavailable: when there is no champion whose predictions could be watched.
        UsageError: the window has no moment in it, or ends ahead of the project's replay.
    """
    if start >= end:
        said = f"a window must end after it starts, got {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        raise UsageError(said, hint="--start before --end")
    refuse_ahead(project, workspace, end, "--end")
    champion = _champion(project, workspace)
    seen = step("read the prediction log", read_window, project, workspace.settings, start, end)
    reference = step("load the champion's reference rows", load_reference, workspace, champion)
    health = step("judge the window", judge_window, project, workspace, seen, reference, champion)
    keep_health(workspace, health, champion)
    made = None
    if report or incidents(project, health, links={}):
        made = step("write the drift report", write_report, project, workspace, health, seen, reference, champion)
    links = _links(project, workspace, champion, made)
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
        window=health.window,
        health=health,
        incidents=found,
        decision=decision,
        seen=seen,
        report=made,
        report_url=links.get("report", ""),
    )


def write_report(
    project: Project,
    workspace: Workspace,
    health: Health,
    seen: SeenWindow,
    reference: pd.DataFrame,
    champion: ModelVersion,
) -> Path:
    """The Evidently report of the window, on disk and with the champion's run."""
    path = workspace.settings.folder("reports", project.name) / f"{health.window.name}.html"
    evidently_report(project, health, seen.sample(), reference, path)
    workspace.run_store.append(champion.run_id).file(path, MONITORING)
    return path


def keep_health(workspace: Workspace, health: Health, champion: ModelVersion) -> None:
    """What the window came to, with the champion's run."""
    run = workspace.run_store.append(champion.run_id)
    run.json(dataclasses.asdict(health), f"{MONITORING}/{health.window.name}.json")


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


def _links(project: Project, workspace: Workspace, champion: ModelVersion, report: Path | None) -> dict[str, str]:
    links = {"run": run_url(workspace, champion.run_id)}
    if report is not None:
        # The one that is kept with the run: whoever is paged has this machine's UI, and not its files.
        links["report"] = run_url(workspace, champion.run_id, f"{MONITORING}/{report.name}")
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
