"""The error budget of a year, and who may still spend of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.project import ErrorBudget
from fullcircle.evaluation.alpha_spending import AnalysisState, PastAnalysis, is_spent, next_analysis

START = datetime(2013, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def lived(evidence: ErrorBudget, every: timedelta, count: int) -> list[PastAnalysis]:
    taken: list[PastAnalysis] = []
    for number in range(count):
        at = START + number * every
        taken.append(PastAnalysis(at=at, level=next_analysis(evidence, taken, at).level))
    return taken


def test_weekly_looks_share_the_year_in_equal_parts() -> None:
    taken = lived(ErrorBudget(alpha=0.05, n_analyses=52), WEEK, 52)
    assert [one.level for one in taken] == pytest.approx([0.05 / 52] * 52)


def test_when_all_looks_are_taken_the_next_one_waits_for_the_oldest_to_leave() -> None:
    evidence = ErrorBudget(n_analyses=3)
    taken = lived(evidence, WEEK, 3)
    spent = next_analysis(evidence, taken, START + 3 * WEEK)
    assert (spent.number, spent.level, spent.free_at) == (4, 0.0, START + evidence.window)
    again = next_analysis(evidence, taken, START + evidence.window)
    assert (again.number, again.free_at) == (3, None)
    assert again.level == pytest.approx(0.05 / 3)


def test_a_look_holds_two_tests_within_its_level() -> None:
    analysis = next_analysis(ErrorBudget(alpha=0.05, n_analyses=1), (), START)
    assert (analysis.level, analysis.test_level) == (0.05, 0.025)


def test_changing_the_settings_in_the_middle_of_a_year_does_not_refill_the_budget() -> None:
    taken = lived(ErrorBudget(n_analyses=4), WEEK, 3)
    more = next_analysis(ErrorBudget(n_analyses=1), taken, START + 3 * WEEK)
    assert more.level == pytest.approx(0.05 / 4)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 60), st.sampled_from([0.01, 0.05, 0.1])), max_size=60),
    st.integers(0, 900),
)
def test_no_window_that_ends_with_a_look_spends_more_than_alpha(days: list[tuple[int, int, float]], last: int) -> None:
    taken: list[PastAnalysis] = []
    for day, n_analyses, alpha in days:
        at = START + timedelta(days=day)
        level = next_analysis(ErrorBudget(alpha=alpha, n_analyses=n_analyses), taken, at).level
        within = sum(one.level for one in taken if abs(one.at - at) < timedelta(days=365))
        assert level >= 0
        assert level == 0 or within + level <= alpha + 1e-12
        taken.append(PastAnalysis(at=at, level=level))


class Life(NamedTuple):
    """One retrain: weeks after the one before, and how it ended."""

    weeks: float
    ended: str


LIVES = st.lists(
    st.builds(
        Life,
        st.floats(0, 20),
        st.sampled_from(["compared", "latency", "killed before", "killed while comparing", "judged again"]),
    ),
    max_size=40,
)


@given(LIVES, st.floats(0.001, 0.2), st.integers(1, 12))
def test_whatever_becomes_of_looks_no_window_is_ever_spent_beyond_alpha(
    lives: list[Life], alpha: float, n_analyses: int
) -> None:
    """The order is reserve, compare, and what happens then; a reader sees only what was written until then."""
    evidence, at = ErrorBudget(alpha=alpha, n_analyses=n_analyses), START
    record: list[tuple[PastAnalysis, AnalysisState, bool]] = []  # look, how far it came, whether its retrain is at work
    compared: list[PastAnalysis] = []  # of each test that was really held, when and at which level

    for life in lives:
        at += timedelta(weeks=life.weeks)
        counted = [spent for spent, state, at_work in record if is_spent(state, at_work=at_work)]
        analysis = next_analysis(evidence, counted, at)
        own = PastAnalysis(at=at, level=analysis.level)
        state = AnalysisState.RESERVED
        if life.ended == "latency":
            state = AnalysisState.RETURNED
        elif life.ended != "killed before":
            state = AnalysisState.COMPARED
            compared.append(own)
        record.append((own, state, False))

    for start in compared:
        within = [each for each in compared if timedelta(0) <= each.at - start.at < evidence.window]
        assert sum(each.level for each in within) <= alpha * (1 + 1e-9)
    ended_without = [spent for spent, state, at_work in record if not is_spent(state, at_work=at_work)]
    assert len(ended_without) == sum(life.ended in ("latency", "killed before") for life in lives)


def test_a_reservation_counts_while_its_retrain_is_at_work() -> None:
    counts = {state: (is_spent(state, at_work=False), is_spent(state, at_work=True)) for state in AnalysisState}
    assert counts == {
        AnalysisState.RESERVED: (False, True),
        AnalysisState.COMPARED: (True, True),
        AnalysisState.RETURNED: (False, False),
    }
