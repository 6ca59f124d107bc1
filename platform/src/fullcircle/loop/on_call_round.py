"""What on-call needs between two watches: waiting pages are sent, unanswered ones escalate, a missing watch is told."""

from __future__ import annotations

from datetime import UTC, datetime

from fullcircle.alerting.dispatch import Delivered, Dispatcher
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import OVERDUE, Incident, Severity, incident_key
from fullcircle.loop.clock import is_replayed
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.incidents.check_table import WindowChecks


def deliver_pages(project: Project, workspace: Workspace, *, now: datetime | None = None) -> Delivered:
    """Send what is due now. To be called every few minutes; it may be called at any time, and in two places at once.

    Args:
        now: the machine's clock, where it is not to be asked.
    """
    now = now or datetime.now(UTC)
    dispatcher = Dispatcher(workspace.database, project, workspace.settings)
    late = overdue(project, workspace, now)
    opened, resolved = dispatcher.note(() if late is None else (late,), at=now, cause=OVERDUE)
    sent = dispatcher.flush()
    return Delivered(opened=opened, resolved=resolved, failed=sent.failed, pages=sent.pages)


def overdue(project: Project, workspace: Workspace, now: datetime) -> Incident | None:
    """The incident that a champion serves and nobody watches it; None where it is watched, or there is none.

    A watch that does not run cannot say so. Where none ever ran, the release of the first champion counts.
    """
    if is_replayed(project.name, workspace):  # its months are its time, and it watches them itself
        return None
    entries = Ledger(workspace.database).entries(project.name)
    if not entries or entries[-1].aliases.champion is None:
        return None
    watched = WindowChecks(workspace.database).watched_until(project.name)
    since = max(filter(None, (watched, entries[0].recorded)))
    if now - since <= (project.on_call.overdue_after or 2 * project.watch.every):
        return None
    until = "never" if watched is None else f"the newest window that was watched ended at {watched:%Y-%m-%d %H:%M} UTC"
    return Incident(
        key=incident_key(project.name, OVERDUE),
        project=project.name,
        cause=OVERDUE,
        severity=Severity.CRITICAL,
        title=f"{project.name}: nobody has watched its predictions since {since:%Y-%m-%d %H:%M} UTC",
        since=since,
        seen=now,
        columns=(),
        evidence={"watched": until, "asked for": f"every {project.watch.every}"},
        links={},
    )
