"""Incidents as they follow from what checks found: opened, going on, over, and which page is due about which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fullcircle.alerting.correlation import Due, assign, combined, due, groups
from fullcircle.alerting.episodes import Episode, episodes
from fullcircle.core.project import Project
from fullcircle.core.records.incidents import STANDING, FaultState, Incident, Severity, WindowCheck
from fullcircle.store.database import Database
from fullcircle.store.incidents.action_table import IncidentActions
from fullcircle.store.incidents.check_table import WindowChecks
from fullcircle.store.incidents.incident_table import OVER, IncidentRow, Incidents


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is known of one page: what it is about, and which kind of page is due. None: whoever was told knows it.

    Attributes:
        acknowledged: whether somebody took it, or a fault that it tells of.
    """

    lead: IncidentRow
    incident: Incident
    kind: Due | None
    acknowledged: bool = False


class IncidentStates:
    """Keeps a project's incidents as its checks have them. All within the caller's transaction."""

    def __init__(self, db: Database, project: Project) -> None:
        self._db = db
        self._project = project
        self._incidents = Incidents(db)
        self._actions = IncidentActions(db)
        self._checks = WindowChecks(db)

    def take(self, check: WindowCheck) -> tuple[tuple[Incident, ...], tuple[Incident, ...]]:
        """Record a check; returns the incidents that are newly open, and those that are newly over."""
        self._of_this_project(check)
        for fault in check.faults:
            self._of_this_project(fault)
        with self._db.session():
            self._checks.record(check)
            checks = self._checks.all(self._project.name)
            faults = {fault.key: fault for each in checks for fault in each.faults}
            rows = self._incidents.all(self._project.name)
            closings = self._actions.closings(self._project.name)
            before = {row.id for row in rows if row.resolved is None}
            for key, fault in faults.items():
                mine = [row for row in rows if row.incident.key == key]
                found = episodes(checks, fault, self._project.watch, closed=closings.get(key, ()))
                self._settle(found, mine, known_from=min(each.start for each in checks))
            for row in rows:
                if row.resolved is None and row.incident.key not in faults:
                    self._close_unseen(row, checks)
            after = self._incidents.all(self._project.name)
        now_open = {row.id for row in after if row.resolved is None}
        opened = tuple(row.incident for row in after if row.id in now_open - before)
        return opened, tuple(row.incident for row in after if row.id in before - now_open)

    def stand(self, incident: Incident) -> bool:
        """Open an incident that no check sees, which is its own page. False: it was open."""
        self._of_this_project(incident)
        number, is_new = self._incidents.see(incident)
        if is_new:
            self._incidents.change(number, lead=number)
        return is_new

    def due(self) -> list[Notice]:
        """What is to be known of each page that is open, and then of each that is over and was not said to be.

        In this order, whoever reads "resolved" has read before what takes its place.
        """
        now = datetime.now(UTC)
        rows = {row.id: row for row in self._incidents.all(self._project.name)}
        opens = [row for row in rows.values() if row.resolved is None]
        leads = assign(opens)
        for each in opens:
            if leads.get(each.id) != each.lead:
                self._incidents.change(each.id, lead=leads.get(each.id))
        members = groups(opens, leads)
        standing = [_standing(rows[number], of_it, now) for number, of_it in members.items() if number in rows]
        over = [
            Notice(lead=row, incident=row.incident, kind="resolved")
            for number, row in rows.items()
            if number not in members and row.told not in (None, OVER) and row.lead == number
        ]
        return [*filter(None, standing), *over]

    def _settle(self, found: Sequence[Episode], rows: Sequence[IncidentRow], *, known_from: datetime) -> None:
        """Let the rows of one fault be its episodes.

        Args:
            known_from: start of the earliest window of which there is a check; of what began before it the row knows.
        """
        left = list(rows)
        for episode in found:
            mine = sorted((row for row in left if _overlap(row, episode)), key=lambda row: (row.told is None, row.id))
            left = [row for row in left if row not in mine]
            if not mine:
                self._begin(episode)
                continue
            kept, *others = mine
            for row in others:  # checks of windows between them came later, and show that it was one
                self._incidents.change(row.id, merged=kept.id, resolved=row.resolved or episode.last.seen)
            since = min(kept.incident.since, episode.last.since)
            last = replace(episode.last, since=since) if since < known_from else episode.last
            self._incidents.bring_up_to_date(kept.id, last)
            self._incidents.change(kept.id, resolved=episode.over, healthy=episode.healthy)

    def _begin(self, episode: Episode) -> None:
        if episode.over is None:
            self._incidents.see(episode.last, healthy=episode.healthy)
        else:
            self._incidents.add_past(episode.last, episode.over)

    def _close_unseen(self, row: IncidentRow, checks: Sequence[WindowCheck]) -> None:
        """Close what no check shows any more, by what one that judged it says: a window's facts may have changed.

        That holds for causes that an earlier version had, too.
        """
        later = [check for check in checks if check.end >= row.incident.seen]
        healthy = [check for check in later if check.state_of(row.incident) is FaultState.HEALTHY]
        if healthy and row.incident.cause not in STANDING:
            self._incidents.change(row.id, resolved=healthy[-1].end)

    def _of_this_project(self, what: WindowCheck | Incident) -> None:
        if what.project != self._project.name:
            named = f"incident {what.key!r}" if isinstance(what, Incident) else "the check"
            raise ValueError(f"{named} is of project {what.project!r}, not {self._project.name!r}")


def _overlap(row: IncidentRow, episode: Episode) -> bool:
    begins = episode.over is None or row.incident.since < episode.over
    return begins and (row.resolved is None or row.resolved > episode.last.since)


def _standing(lead: IncidentRow, members: Sequence[IncidentRow], now: datetime) -> Notice | None:
    """What is to be known of a page while something of it is open; None: nothing is to be sent now."""
    bad = [row for row in members if not row.healthy]
    if not bad or all(row.is_silent(now) for row in bad):
        return None
    first = next((row for row in bad if row.id == lead.id), max(bad, key=lambda row: row.incident.severity.rank))
    made = combined(first.incident, [row.incident for row in bad if row.id != first.id])
    # One page has one key, also when what it was opened for is over and what broke with it is not.
    incident = replace(made, key=lead.incident.key)
    told = None if lead.told in (None, OVER) else Severity(lead.told)
    taken = any(row.acknowledged is not None for row in members)
    return Notice(lead=lead, incident=incident, kind=due(told, incident.severity), acknowledged=taken)
