"""Transactional outbox of pages: stored and queued in one transaction, delivered after it, and never twice.

An incident pages each route once when it opens and once when it is over, however many windows see it in between.
Delivery is at least once: a kill between a route's "accepted" and our note of it sends that page again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from fullcircle.alerting.page import Kind, Page, page
from fullcircle.alerting.routes import FORGETFUL, deliver, route_name, scheme_of
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import Incident
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.file_locks import exclusive
from fullcircle.store.incidents import Incidents, PageRow
from fullcircle.store.json_values import to_plain

APPROVAL = "approval"
"""The cause of an incident that no window sees: a challenger waits for a human."""
STANDING = frozenset({APPROVAL})
"""Causes whose incidents stay open until whoever opened them says that they are over."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What became of a report.

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
        self._project = project
        self._settings = settings
        self._routes = {route_name(url): url for url in project.routes}

    def report(self, incidents: Sequence[Incident], *, at: datetime) -> Delivered:
        """Take the incidents of one window: page the new ones, say that the absent ones are over.

        Args:
            incidents: all that is wrong now; an open incident that is not among them is resolved.
            at: the end of the window, in the time of the data.

        Raises:
            FullcircleError: when the database does not answer. A route that fails never raises.
        """
        opened, resolved = self.note(incidents, at=at)
        sent = self.flush()
        return Delivered(opened=opened, resolved=resolved, failed=sent.failed, pages=sent.pages)

    def note(
        self, incidents: Sequence[Incident], *, at: datetime, standing: bool = False
    ) -> tuple[tuple[Incident, ...], tuple[Incident, ...]]:
        """Store the incidents and queue their pages, in the caller's transaction, without delivering them.

        Args:
            standing: whether these are all that there are of the causes in STANDING, rather than of all other causes;
                an open one of the same kind that is not among them is resolved.

        Returns:
            those that are new, and those that are over.
        """
        with self._db.session():  # an incident and its pages exist together or not at all
            opened = tuple(incident for incident in incidents if self._open(incident))
            already = (row.incident for row in self._incidents.open(self._project.name))
            others = {each.key for each in already if (each.cause in STANDING) is not standing}
            seen = others | {each.key for each in incidents}
            gone = self._incidents.resolve_missing(self._project.name, seen, at)
            for row in gone:
                self._queue(row.id, row.incident, "resolved", ends=row.resolved)
        return opened, tuple(row.incident for row in gone)

    def flush(self) -> Delivered:
        """Deliver the pages that wait, oldest first. A route that fails keeps its later pages waiting, too."""
        failed: dict[str, str] = {}
        told = set[int]()
        with exclusive(self._settings.folder("locks") / f"pages-{self._project.name}.lock"):
            self._reroute()
            for row in self._incidents.undelivered(self._project.name):
                if row.route not in self._routes or row.route in failed:  # in order: never "over" before "open"
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
            forgot = scheme_of(self._routes.get(row.route, "")) in FORGETFUL and row.id not in told
            if forgot and row.route not in failed and (why := self._deliver(row)):
                failed[row.route] = why

    def _deliver(self, row: PageRow) -> str:
        try:
            made = Page.stored(row.page)
        except (KeyError, TypeError, ValueError) as error:  # written by another hand, or by an older program since
            return f"page {row.id} cannot be read ({type(error).__name__})"
        return deliver(made, self._routes[row.route], self._project.allowed_private_hosts)

    def _open(self, incident: Incident) -> bool:
        if incident.project != self._project.name:
            raise ValueError(
                f"incident {incident.key!r} is of project {incident.project!r}, not {self._project.name!r}"
            )
        number, new = self._incidents.see(incident)
        if new:
            self._queue(number, incident, "open")
        return new

    def _queue(self, number: int, incident: Incident, kind: Kind, ends: datetime | None = None) -> None:
        made = page(incident, kind=kind, project=self._project, ends=ends)
        for route in self._routes:
            self._incidents.queue(number, route, kind, to_plain(made))

    def _reroute(self) -> None:
        """Give pages that wait for a route that is gone (a mistyped URL, since mended) to the routes there are."""
        if not self._routes:
            return
        with self._db.session():
            for row in self._incidents.undelivered(self._project.name):
                if row.route not in self._routes:
                    for route in self._routes:
                        self._incidents.queue(row.incident, route, row.kind, row.page)
                    self._incidents.delivered(row.id)
