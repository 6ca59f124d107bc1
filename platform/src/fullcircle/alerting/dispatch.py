"""Transactional outbox of pages: stored and queued in one transaction, delivered after it, and never twice.

A cause pages each route once when it opens, once more should it get worse, and once when it is over, however many
windows see it in between. Delivery is at least once: a kill between a route's "accepted" and our note of it sends that
page again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from fullcircle.alerting.incident_states import IncidentStates, Notice
from fullcircle.alerting.page import Kind, Page, page
from fullcircle.alerting.routes import FORGETFUL, deliver, route_name, scheme_of
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import APPROVAL, Incident, Severity, WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.file_locks import exclusive
from fullcircle.store.incidents.incident_table import OVER, IncidentRow, Incidents, PageRow
from fullcircle.store.json_values import to_plain


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What became of a check.

    Attributes:
        opened, resolved: incidents that are new, and that are over.
        failed: one line for each page that did not arrive: route and reason. They are tried again next time.
        pages: how many pages arrived.
    """

    opened: tuple[Incident, ...] = ()
    resolved: tuple[Incident, ...] = ()
    failed: tuple[str, ...] = ()
    pages: int = 0


class Dispatcher:
    """Tells a project's routes what changed. Safe in several processes at once: one delivers, the others wait."""

    def __init__(self, db: Database, project: Project, settings: Settings) -> None:
        self._db = db
        self._incidents = Incidents(db)
        self._states = IncidentStates(db, project)
        self._project = project
        self._settings = settings
        self._routes = {route_name(url): url for url in project.routes}
        self._next = {route_name(url): url for url in project.on_call.escalate_to}
        self._every_route = {**self._routes, **self._next}

    def report(self, check: WindowCheck) -> Delivered:
        """Take what a check of a window found: page what is new or got worse, say of what is gone that it is over.

        Checks may come in any order, and again with other facts. One at an earlier window is held as what was known of
        that window: it takes nothing away from what later ones found.

        Raises:
            ValueError: for a check of another project.
            FullcircleError: when the database does not answer. A route that fails never raises.
        """
        with self._db.session():  # an incident and its pages exist together or not at all
            opened, resolved = self._states.take(check)
            self._tell()
        sent = self.flush()
        return Delivered(opened=opened, resolved=resolved, failed=sent.failed, pages=sent.pages)

    def note(
        self, incidents: Sequence[Incident], *, at: datetime, cause: str = APPROVAL
    ) -> tuple[tuple[Incident, ...], tuple[Incident, ...]]:
        """Store incidents that no window sees and queue their pages, in the caller's transaction, without delivering
        them.

        Args:
            incidents: all that there are of this cause; an open one that is not among them is resolved.
            cause: one of STANDING.

        Returns:
            those that are new, and those that are over.
        """
        with self._db.session():
            opened = tuple(incident for incident in incidents if self._states.stand(incident))
            keys = {each.key for each in incidents}
            gone = [
                row
                for row in self._incidents.open(self._project.name)
                if row.incident.cause == cause and row.incident.key not in keys
            ]
            for row in gone:
                self._incidents.change(row.id, resolved=at)
            self._tell()
        return opened, tuple(row.incident for row in gone)

    def flush(self) -> Delivered:
        """Deliver the pages that wait, oldest first. A route that fails keeps its later pages waiting, too."""
        failed: dict[str, str] = {}
        told = set[int]()
        with exclusive(self._settings.folder("locks") / f"pages-{self._project.name}.lock"):
            self._tell()
            self._reroute()
            for row in self._incidents.undelivered(self._project.name):
                if row.route not in self._every_route or row.route in failed:  # in order: never "over" before "open"
                    continue
                if why := self._deliver(row):
                    self._incidents.failed(row.id, why)
                    failed[row.route] = why
                else:
                    self._incidents.delivered(row.id)
                    told.add(row.id)
            self._remind(failed, told)
        return Delivered(failed=tuple(f"{route}: {why}" for route, why in failed.items()), pages=len(told))

    def _remind(self, failed: dict[str, str], told: Set[int]) -> None:
        """Tell what is still open to receivers that may have lost it since, but for the pages that they were told of
        just now; those that fail are added to `failed`."""
        for row in self._incidents.announced(self._project.name):
            forgot = scheme_of(self._every_route.get(row.route, "")) in FORGETFUL and row.id not in told
            if forgot and row.route not in failed and (why := self._deliver(row)):
                failed[row.route] = why

    def _deliver(self, row: PageRow) -> str:
        try:
            made = Page.stored(row.page)
        except (KeyError, TypeError, ValueError) as error:  # written by another hand, or by an older program since
            return f"page {row.id} cannot be read ({type(error).__name__})"
        return deliver(made, self._every_route[row.route], self._project.allowed_private_hosts)

    def _tell(self) -> None:
        """Queue the pages that are due: also those of what is open for a route that has heard nothing of it."""
        with self._db.session():
            for notice in self._states.due():
                told = self._incidents.routes_told(notice.lead.id)
                for route in (each for each in self._every_route if each in self._routes or each in told):
                    if notice.kind == "resolved":
                        if route in told:  # whoever never heard of it need not hear that it is over
                            self._queue(notice.lead, route, "resolved", notice.incident)
                    elif notice.kind is not None:
                        self._queue(notice.lead, route, notice.kind if route in told else "open", notice.incident)
                    elif route not in told:
                        self._queue(notice.lead, route, "open", notice.incident)
                if notice.kind is not None:
                    is_over = notice.kind == "resolved"
                    self._incidents.change(notice.lead.id, told=OVER if is_over else notice.incident.severity.value)
                elif self._is_unanswered(notice):
                    for route in self._next or self._routes:
                        self._queue(notice.lead, route, "escalated", notice.incident)

    def _is_unanswered(self, notice: Notice) -> bool:
        """Whether a page has waited for an acknowledgement for longer than it may. One that only informs may wait."""
        patience = self._project.on_call.escalate_after
        if patience is None or notice.acknowledged or notice.incident.severity is Severity.INFO:
            return False
        told = self._incidents.first_told(notice.lead.id)
        return told is not None and datetime.now(UTC) - told >= patience

    def _queue(self, lead: IncidentRow, route: str, kind: Kind, incident: Incident) -> None:
        made = page(incident, kind=kind, project=self._project, ends=lead.resolved if kind == "resolved" else None)
        self._incidents.queue(lead.id, route, kind, to_plain(made))

    def _reroute(self) -> None:
        """Give pages that wait for a route that is gone (a mistyped URL, since mended) to the routes there are."""
        if not self._routes:
            return
        with self._db.session():
            for row in self._incidents.undelivered(self._project.name):
                if row.route not in self._every_route:
                    for route in self._routes:
                        self._incidents.queue(row.incident, route, row.kind, row.page)
                    self._incidents.delivered(row.id)
