"""Alpha spending: how much of a year's error budget each interim analysis of a challenger may spend. Pure.

An analysis is one retrain whose challenger is compared with a champion. Equal parts: with `n_analyses` of them at alpha
/ looks each, the chance of one false promotion or more is at most alpha, however the looks depend on each other
(Bonferroni; Dunn 1961, "Multiple comparisons among means", JASA 56:52-64). Why not alpha investing:
docs/adr/0054-evidence-and-its-budget.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fullcircle.core.project import ErrorBudget

TESTS = 2
"""Candidates that one look may hold against the champion: the best network, and the baseline in its place."""


class AnalysisState(StrEnum):
    """How far a look came: its share is reserved, then spent by comparing, or returned where nothing was compared."""

    RESERVED = "reserved"
    COMPARED = "compared"
    RETURNED = "returned"


def is_spent(state: AnalysisState, *, at_work: bool) -> bool:
    """Whether a look counts against the budget: once it compared, for good; a mere reservation while its retrain is
    still at work and may compare any moment."""
    return state is AnalysisState.COMPARED or (state is AnalysisState.RESERVED and at_work)


@dataclass(frozen=True, kw_only=True)
class PastAnalysis:
    """A look that was taken: when (in the time of the data), and the level that it spent."""

    at: datetime
    level: float


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One look at a challenger.

    Attributes:
        number: which one it is within the window, from 1.
        level: the error that it may make in all, one-sided; 0 when the budget is spent.
        free_at: with nothing left: when the oldest look leaves the window.
    """

    number: int
    n_analyses: int
    alpha: float
    level: float
    free_at: datetime | None = None

    @property
    def test_level(self) -> float:
        """The level of each of the `TESTS` tests that the look may hold."""
        return self.level / TESTS


def next_analysis(evidence: ErrorBudget, taken: Sequence[PastAnalysis], at: datetime) -> Analysis:
    """The look that is taken at `at`, after those that were taken before (in any order).

    What was really spent counts, so a project that changes `alpha` or `n_analyses` in the middle of a year keeps its
    word. Looks after `at` count too: in a replay of old data they were taken earlier all the same.
    """
    within = [one for one in taken if abs(at - one.at) < evidence.window]
    part = evidence.alpha / evidence.n_analyses
    left = evidence.alpha - sum(one.level for one in within)
    level = min(part, left) if left > evidence.alpha * 1e-9 else 0.0  # a billionth is floating point's, not a budget
    return Analysis(
        number=len(within) + 1,
        n_analyses=evidence.n_analyses,
        alpha=evidence.alpha,
        level=level,
        free_at=None if level else min(one.at for one in within) + evidence.window,
    )
