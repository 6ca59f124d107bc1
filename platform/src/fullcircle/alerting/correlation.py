"""One page per cause: which open faults belong to one page, and which page is due. Pure.

A column that is broken explains why its distribution moved and why the model does worse, so these are named on its page
and have none of their own while it lasts. What outlives its explanation gets its own page then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from fullcircle.core.records.incidents import Incident, Severity
from fullcircle.store.incidents.incident_table import IncidentRow

SYMPTOMS = ("degraded", "drift")
"""Causes that another one may explain, what matters most first."""
SHOWN = 5

Due = Literal["open", "raised", "resolved"]


def assign(rows: Sequence[IncidentRow]) -> dict[int, int]:
    """Which incident leads the page of which: id -> id of the lead, for all that are bad or have a page.

    Args:
        rows: the open incidents. Of a symptom something that is wrong with a column is the explanation.

    What broke in the same check is one page, what breaks later another one. A symptom joins what is broken, else what
    was told of the same change of the world; performance that falls after a page about drift is told by itself, since
    it is what matters.
    """
    leads = {row.id: row.lead for row in rows if row.lead is not None}
    by_id = {row.id: row for row in rows}
    leads |= {row.id: row.id for row in rows if not row.incident.subject and not _is_symptom(row)}
    broken = [row for row in rows if row.incident.subject]
    _orphan(rows, leads, broken)
    new = [row for row in broken if row.id not in leads and row.is_bad]
    if new:
        lead = max(new, key=lambda row: (row.incident.severity.rank, -row.id)).id
        leads |= {row.id: lead for row in new}
    standing = [row for row in broken if row.id in leads and row.is_bad]
    for row in sorted((each for each in rows if _is_symptom(each)), key=lambda row: SYMPTOMS.index(row.incident.cause)):
        if row.id in leads or not row.is_bad:
            continue
        if standing:
            leads[row.id] = leads[max(standing, key=lambda each: each.id).id]
            continue
        others = [by_id[lead] for lead in {*leads.values()} if lead in by_id and _is_symptom(by_id[lead])]
        louder = [each for each in others if _matters(each) >= _matters(row) and each.is_bad]
        leads[row.id] = louder[0].id if louder else row.id
    return leads


def _orphan(rows: Sequence[IncidentRow], leads: dict[int, int], broken: Sequence[IncidentRow]) -> None:
    """Take symptoms off a page of something broken that is over."""
    alive = {leads[row.id] for row in broken if row.id in leads}
    by_id = {row.id: row for row in rows}
    for row in rows:
        lead = leads.get(row.id)
        if lead is None or not _is_symptom(row) or lead == row.id:
            continue
        led_by_symptom = lead in by_id and _is_symptom(by_id[lead])
        if lead not in alive and not led_by_symptom:
            del leads[row.id]


def _is_symptom(row: IncidentRow) -> bool:
    return row.incident.cause in SYMPTOMS


def _matters(row: IncidentRow) -> int:
    return -SYMPTOMS.index(row.incident.cause)


def combined(lead: Incident, others: Iterable[Incident]) -> Incident:
    """The lead as its page tells of it: with what else broke, and what it explains."""
    others = sorted(others, key=lambda each: -each.severity.rank)
    broken = [each for each in others if each.cause not in SYMPTOMS]
    title, evidence = lead.title, dict(lead.evidence)
    more = len({each.subject for each in broken} - {lead.subject, ""})
    if more:
        title += f", and {more} more column{'s' if more > 1 else ''} went bad"
    for each in broken[:SHOWN]:
        evidence[f"also {each.cause}"] = _with(evidence.get(f"also {each.cause}"), each.title)
    for each in others:
        if each.cause in SYMPTOMS:
            evidence[f"with it, {each.cause}"] = each.title
    columns = tuple(dict.fromkeys(name for each in (lead, *others) for name in each.columns))
    loudest = max((lead, *others), key=lambda each: each.severity.rank).severity
    return replace(lead, title=title, evidence=evidence, columns=columns, severity=loudest)


def _with(before: str | None, title: str) -> str:
    return title if before is None else f"{before}; {title}"


def due(told: Severity | None, severity: Severity) -> Due | None:
    """Which page is due about a group that is this loud: a new one, one that got worse, or none."""
    if told is None:
        return "open"
    return "raised" if severity.rank > told.rank else None


def groups(rows: Sequence[IncidentRow], leads: Mapping[int, int]) -> dict[int, list[IncidentRow]]:
    """The members of each page, by the id of its lead."""
    found: dict[int, list[IncidentRow]] = {}
    for row in rows:
        if row.id in leads:
            found.setdefault(leads[row.id], []).append(row)
    return found
