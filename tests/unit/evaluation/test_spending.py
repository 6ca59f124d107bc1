"""The error budget of a year, and who may still spend of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.project import Evidence
from fullcircle.evaluation.spending import Spent, next_look

START = datetime(2013, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def lived(evidence: Evidence, every: timedelta, count: int) -> list[Spent]:
    taken: list[Spent] = []
    for number in range(count):
        at = START + number * every
        taken.append(Spent(at=at, level=next_look(evidence, taken, at).level))
    return taken


def test_weekly_looks_share_the_year_in_equal_parts() -> None:
    taken = lived(Evidence(alpha=0.05, looks=52), WEEK, 52)
    assert [one.level for one in taken] == pytest.approx([0.05 / 52] * 52)


def test_when_all_looks_are_taken_the_next_one_waits_for_the_oldest_to_leave() -> None:
    evidence = Evidence(looks=3)
    taken = lived(evidence, WEEK, 3)
    spent = next_look(evidence, taken, START + 3 * WEEK)
    assert (spent.number, spent.level, spent.free_at) == (4, 0.0, START + evidence.window)
    again = next_look(evidence, taken, START + evidence.window)
    assert (again.number, again.free_at) == (3, None)
    assert again.level == pytest.approx(0.05 / 3)


def test_a_look_holds_two_tests_within_its_level() -> None:
    look = next_look(Evidence(alpha=0.05, looks=1), (), START)
    assert (look.level, look.test_level) == (0.05, 0.025)


def test_changing_the_settings_in_the_middle_of_a_year_does_not_refill_the_budget() -> None:
    taken = lived(Evidence(looks=4), WEEK, 3)
    more = next_look(Evidence(looks=1), taken, START + 3 * WEEK)
    assert more.level == pytest.approx(0.05 / 4)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 60), st.sampled_from([0.01, 0.05, 0.1])), max_size=60),
    st.integers(0, 900),
)
def test_no_window_that_ends_with_a_look_spends_more_than_alpha(days: list[tuple[int, int, float]], last: int) -> None:
    taken: list[Spent] = []
    for day, looks, alpha in days:
        at = START + timedelta(days=day)
        level = next_look(Evidence(alpha=alpha, looks=looks), taken, at).level
        within = sum(one.level for one in taken if abs(one.at - at) < timedelta(days=365))
        assert level >= 0
        assert level == 0 or within + level <= alpha + 1e-12
        taken.append(Spent(at=at, level=level))
