"""Split by time, monitoring window and retraining policy of a project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.field_ranges import (
    NUMBERS,
    Delay,
    Share,
    Span,
    Within,
    check_fields,
    shown,
)

MONTH = re.compile(r"(?:19|20|21)[0-9]{2}-(?:0[1-9]|1[0-2])")
"""`YYYY-MM`."""
A_MONTH = "a month, such as 2012-01"
APPROVALS = ("gate", "human")
"""Who may release a challenger that passed the gate."""


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How much of the newest data is held back, by time: first `validation`, then `test` after it."""

    validation: Span = timedelta(days=14)
    test: Span = timedelta(days=14)
    history: Span | None = None
    """How far back training reaches; None: all that there is."""
    suspicious_auc: Annotated[float, Within(0.5, 2.0)] = 0.95
    """A single column that alone reaches this ROC AUC is taken for a leak of the answer; above 1: none is."""

    def __post_init__(self) -> None:
        check_fields(self, "split")


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a window of predictions is judged.

    Attributes:
        every, window: how often to look, and at how much.
        false_alarms: share of windows without any drift that may be flagged, per column (the threshold is
            resampled from the reference at the window's own size to hold it).
        drifted_share: share of drifted columns from which the window as a whole counts as drifted.
        min_rows: below this many rows a window is too small to judge.
        checks_to_open, of_checks: an incident opens when so many of the last so many checks found its fault
            (of as many at least as it takes to open).
        checks_to_close: and is over when so many checks in a row found it gone; one that could not tell counts neither
            way.
    """

    every: Span = timedelta(days=1)
    window: Span = timedelta(days=28)
    false_alarms: Annotated[float, Within(0.0, 0.5, above=True)] = 0.01
    drifted_share: Annotated[float, Within(0.0, 1.0, above=True)] = 0.5
    min_rows: Annotated[int, Within(1, 2**31 - 1)] = 200
    checks_to_open: Annotated[int, Within(1, 100)] = 1
    of_checks: Annotated[int, Within(1, 100)] = 1
    checks_to_close: Annotated[int, Within(1, 100)] = 2

    def __post_init__(self) -> None:
        check_fields(self, "watch")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to retrain or roll back.

    Attributes:
        tolerated_drop: how much worse the primary metric may be than what the gate measured at release: of ROC AUC, or
            any share or area, the fall itself; of an error with a unit a share of it (0.02: 2% more rentals off).
        on_drift: whether a window that drifted as a whole asks for a retrain while its performance still holds. It
            costs computing time and, the gate being what it is, nothing else.
        cooldown: shortest time between two retrains, in the time of the data.
        max_retrains: most retrains in any `budget_window`.
        rollback_margin: by how much the previous champion must beat the champion on the same labelled rows, counted as
            `tolerated_drop` is.
        auto_rollback: whether a rollback that was decided is carried out at once, when the previous champion's graph
            loads. Else, and always where `approval` is "human", on-call is paged with the command.
    """

    tolerated_drop: Share = 0.02
    on_drift: bool = True
    cooldown: Delay = timedelta(days=20)
    max_retrains: Annotated[int, Within(0, NUMBERS)] = 6
    budget_window: Span = timedelta(days=365)
    rollback_margin: Share = 0.02
    auto_rollback: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "policy")


@dataclass(frozen=True, kw_only=True)
class OnCall:
    """What happens when nobody answers a page, or nobody watches. `fullcircle incidents deliver` sees to it.

    Attributes:
        escalate_after: how long a page may wait for `fullcircle incidents ack` until it goes to `escalate_to`; None:
            for ever.
        escalate_to: routes, written as `Project.routes` are; without one it goes to the project's routes once more.
        overdue_after: how long after the end of the newest window that was watched on-call hears that nobody watches;
            None: twice `Watch.every`.
    """

    escalate_after: Span | None = None
    escalate_to: tuple[str, ...] = ()
    overdue_after: Span | None = None

    def __post_init__(self) -> None:
        check_fields(self, "on_call")
        if self.escalate_to and self.escalate_after is None:
            must = "be given where on_call.escalate_to is: it says when these routes hear of a page"
            raise ProjectInvalid(f"on_call.escalate_after must {must}")


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """How `fullcircle replay` lives through this project's past.

    Attributes:
        start: the first month that is replayed, `YYYY-MM`: the first model learns from what was before. None: after
            three months, or after twice what the split holds back, whichever is later.
        period: what is served, watched and decided about at a time. A quarter or a year begins in the month of `start`.
        note: what a reader of the report has to know about this past, such as that its months are made up.
    """

    start: str | None = None
    period: Literal["month", "quarter", "year"] = "month"
    note: str = ""

    def __post_init__(self) -> None:
        check_fields(self, "replay")
        if self.start is not None and not MONTH.fullmatch(self.start):
            raise ProjectInvalid(f"replay.start must be {A_MONTH}, got {shown(self.start)}")
