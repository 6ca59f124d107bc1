"""The notice to on-call about a challenger that waits for approval: who, why, where to look, what to type."""

from __future__ import annotations

from fullcircle.core.project import Project
from fullcircle.core.records.incidents import APPROVAL, Incident, Severity
from fullcircle.core.records.ledger_entries import Entry
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import address, is_server
from fullcircle.tracking.ui.ui_links import version_page


def review(project: Project, settings: Settings, entry: Entry) -> Incident:
    """The incident that stays open until the challenger is approved, rejected or replaced. Pages each route once."""
    words = f"{project.name} {entry.version} --why TEXT"
    evidence = {
        "gate": entry.verdict,
        "reason": entry.why,
        "serves until then": f"version {entry.previous}" if entry.previous else "no version",
        "release it": f"fullcircle approve {words}",
        "refuse it": f"fullcircle reject {words}",
    }
    return Incident(
        key=f"{project.name}:{APPROVAL}:{entry.version}",
        project=project.name,
        cause=APPROVAL,
        severity=Severity.INFO,
        title=f"{project.name}: version {entry.version} waits for approval",
        since=entry.at,
        seen=entry.at,
        columns=(),
        evidence=evidence,
        links={"review": review_url(settings, project.name, entry.version)},
    )


def review_url(settings: Settings, name: str, version: str) -> str:
    """Where MLflow shows a model version with its card: its server, or `fullcircle ui` once that is up."""
    ours = settings.mlflow_url
    base = address(settings).rstrip("/") if is_server(settings) else ours
    return f"{base}/{version_page(name, version)}"
