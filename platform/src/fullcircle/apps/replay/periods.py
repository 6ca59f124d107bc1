"""Which stretches of the past a replay lives through, and where it begins: what the project says, else by its split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import UsageError
from fullcircle.core.field_ranges import shown
from fullcircle.core.project import Project
from fullcircle.core.project.operation import A_MONTH, MONTH
from fullcircle.data.partitions import partitions

if TYPE_CHECKING:
    from fullcircle.data.partitions import Partition

FIRST_MONTHS = 3
"""Months that are learned from before the first release, where neither the project nor its split asks for more."""
MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class ReplaySpan:
    """What a replay was asked for, where it is other than what the project says.

    Attributes:
        start: the first month that is replayed, `YYYY-MM`; the model learns from what was before.
        until: replay periods that begin before this month.
        months: replay periods that begin within so many months of the start.
    """

    start: str | None = None
    until: str | None = None
    months: int | None = None


@dataclass(frozen=True)
class Period:
    """What is served, watched and decided about at a time.

    Attributes:
        name: the month, `YYYY-MM`, or `YYYY-Q1`; of a year that in which it begins, `YYYY`.
        start, end: its first moment and the first one after it, UTC.
        parts: the partitions that have its rows; a month of it without a file has no rows.
    """

    name: str
    start: datetime
    end: datetime
    parts: tuple[Partition, ...]


def plan_periods(project: Project, span: ReplaySpan) -> tuple[Period, ...]:
    """The periods that have rows, in the order of time; the first model learns from what is before the first one.

    Raises:
        UsageError: a replay of this project is not possible, or not of that span.
    """
    parts = _parts(project)
    start = _month(span.start or project.replay.start, "--from") or _derived_start(project, parts)
    step, stop = MONTHS[project.replay.period], _month(span.until, "--until")
    if span.months is not None:
        limit = later(start, span.months)
        stop = limit if stop is None else min(stop, limit)
    _refuse_too_early(project, start, parts)
    found, begin = [], start
    while begin < parts[-1].end and (stop is None or begin < stop):
        end = later(begin, step)
        if held := tuple(part for part in parts if begin <= part.start < end):
            found.append(Period(_name(begin, step), begin, end, held))
        begin = end
    if not found:
        last = f"its last partition is {parts[-1].month}"
        until = f" and before {span.until}" if span.until else ""
        raise UsageError(f"{project.name} has no rows from {start:%Y-%m} on{until}: {last}", hint=_RANGE)
    return tuple(found)


_RANGE = "choose the months with --from and --until, or 'replay=ReplayPlan(start=...)' in project.py"


def later(moment: datetime, months: int) -> datetime:
    """The first moment of the month that is so many later."""
    count = moment.year * 12 + moment.month - 1 + months
    return moment.replace(year=count // 12, month=count % 12 + 1)


def _name(begin: datetime, step: int) -> str:
    if step == MONTHS["year"]:
        return f"{begin:%Y}"
    return f"{begin:%Y-%m}" if step == 1 else f"{begin:%Y}-Q{(begin.month - 1) // 3 + 1}"


def _month(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    if not MONTH.fullmatch(text):
        raise UsageError(f"{option} must be {A_MONTH}, got {shown(text)}")
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)


def _derived_start(project: Project, parts: Sequence[Partition]) -> datetime:
    """After three months; later where the split holds back so much that even less would be left to learn from."""
    rule, first, months = project.split, parts[0].start, FIRST_MONTHS
    while later(first, months) - first < 2 * (rule.validation + rule.test):
        months += 1
    return later(first, months)


def _refuse_too_early(project: Project, start: datetime, parts: Sequence[Partition]) -> None:
    """Before any training: there must be something before the start, and more than what the split holds back."""
    before, rule = [part for part in parts if part.end <= start], project.split
    held_back = rule.validation + rule.test
    if not before or start - before[0].start <= held_back:
        has = f"its first partition is {parts[0].month}, and its split holds back {held_back.days} days"
        raise UsageError(f"{project.name} has nothing to learn from before {start:%Y-%m}: {has}", hint=_RANGE)


def _parts(project: Project) -> tuple[Partition, ...]:
    """The project's months. Raises UsageError when a replay of them is not possible."""
    if project.approval != "gate":
        raise UsageError(
            f"{project.name} has approval={project.approval!r}, and there is nobody to ask in a replay",
            hint="set approval='gate' for it",
        )
    parts = partitions(project)
    if len(parts) <= FIRST_MONTHS:
        raise UsageError(
            f"{project.name} has {len(parts)} monthly partitions; a replay needs {FIRST_MONTHS + 1} or more"
        )
    for part in parts:
        held = part.footer
        if held and held.first and held.last and not (part.start <= held.first and held.last < part.end):
            raise UsageError(
                f"{part.path.name} of {project.name} has rows from {held.first:%Y-%m-%d} to {held.last:%Y-%m-%d}",
                hint="a replay goes month by month: move each row into the file of its month",
            )
    return parts
