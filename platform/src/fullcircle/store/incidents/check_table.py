"""Table of checks: what each check of a window said of every fault. Incidents are made from these, in any order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, func, insert, select

from fullcircle.core.records.incidents import Incident, Severity, WindowCheck
from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import window_checks

KEPT = 1_000
"""Checks that incidents are made from, the newest windows: more than two years of days."""


class WindowChecks:
    """Checks of windows. A window that is checked again, with other facts, keeps its earlier checks as history."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, check: WindowCheck) -> bool:
        """Keep a check. False: the newest one of this window said the same."""
        with self._db.session() as session:
            if self._newest(check) == check:
                return False
            simple = {name: getattr(check, name) for name in _SIMPLE}
            shaped = {name: list(getattr(check, name)) for name in ("subjects", "unknown")}
            faults = [_fault_values(each) for each in check.faults]
            session.execute(insert(window_checks), simple | shaped | {"faults": faults, "recorded": datetime.now(UTC)})
            return True

    def all(self, project: str, most: int = KEPT) -> list[WindowCheck]:
        """The newest check at each of a project's newest windows, in the order of their ends."""
        with self._db.session() as session:
            asked = (
                select(window_checks)
                .where(window_checks.c.project == project)
                .order_by(window_checks.c.end.desc(), window_checks.c.id.desc())
            )
            found: dict[tuple[datetime, datetime], WindowCheck] = {}
            for row in session.execute(asked.limit(most)).mappings():
                found.setdefault((row["start"], row["end"]), _check(row))
        return list(reversed(found.values()))

    def watched_until(self, project: str) -> datetime | None:
        """The end of the newest window that was checked; None before the first."""
        with self._db.session() as session:
            asked = select(func.max(window_checks.c.end)).where(window_checks.c.project == project)
            found: datetime | None = session.execute(asked).scalar()
            return found

    def _newest(self, check: WindowCheck) -> WindowCheck | None:
        with self._db.session() as session:
            same = (
                window_checks.c.project == check.project,
                window_checks.c.start == check.start,
                window_checks.c.end == check.end,
            )
            row = (
                session.execute(select(window_checks).where(*same).order_by(window_checks.c.id.desc()).limit(1))
                .mappings()
                .first()
            )
            return None if row is None else _check(row)


_SIMPLE = ("project", "start", "end", "champion", "rows", "labelled", "quiet")


def _fault_values(fault: Incident) -> dict[str, Any]:
    names = ("key", "cause", "subject", "title")
    shaped = {name: to_plain(getattr(fault, name)) for name in ("columns", "evidence", "links")}
    return {name: getattr(fault, name) for name in names} | shaped | {"severity": fault.severity.value}


def _check(row: RowMapping) -> WindowCheck:
    faults = tuple(
        Incident(
            project=row["project"],
            severity=Severity(each["severity"]),
            since=row["start"],
            seen=row["end"],
            columns=tuple(each["columns"]),
            **{name: each[name] for name in ("key", "cause", "subject", "title", "evidence", "links")},
        )
        for each in row["faults"]
    )
    simple = {name: row[name] for name in _SIMPLE}
    return WindowCheck(faults=faults, subjects=tuple(row["subjects"]), unknown=tuple(row["unknown"]), **simple)
