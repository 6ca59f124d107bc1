"""A retrain that a busy machine left open does not count; every other one does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fullcircle.loop.retraining.latency_noise import DatedRetrain, without_noise

DAY = timedelta(days=1)
START = datetime(2013, 4, 1, tzinfo=UTC)


def test_the_decision_that_asked_for_a_noisy_retrain_does_not_count() -> None:
    april, may = DatedRetrain(START, "drift in April"), DatedRetrain(START + 30 * DAY, "drift in May")
    assert without_noise([may, april], []) == (april.at, may.at)
    assert without_noise([april, may], [DatedRetrain(may.at + DAY, "drift in May")]) == (april.at,)
    assert without_noise([april, may], [DatedRetrain(may.at, "drift in May")]) == (april.at,), (
        "in a replay at the same moment"
    )


def test_a_noisy_retrain_that_was_asked_for_by_hand_takes_no_decision_out() -> None:
    april = DatedRetrain(START, "drift in April")
    assert without_noise([april], [DatedRetrain(START + DAY, "asked for on the command line")]) == (april.at,)
    assert without_noise([april], [DatedRetrain(START - DAY, "drift in April")]) == (april.at,), "it came before"


def test_of_decisions_with_one_reason_the_newest_before_it_is_meant() -> None:
    first, second = DatedRetrain(START, "drift"), DatedRetrain(START + 30 * DAY, "drift")
    assert without_noise([first, second], [DatedRetrain(START + 31 * DAY, "drift")]) == (first.at,)
    assert without_noise([first, second], [DatedRetrain(START + DAY, "drift")]) == (second.at,)


ASKED = st.lists(st.builds(DatedRetrain, st.integers(0, 400).map(lambda n: START + n * DAY), st.sampled_from("abc")))


@given(ASKED, ASKED)
def test_no_more_is_given_back_than_was_noisy(decided: list[DatedRetrain], noisy: list[DatedRetrain]) -> None:
    left = without_noise(decided, noisy)
    assert len(decided) - len(noisy) <= len(left) <= len(decided)
    assert list(left) == sorted(left) and set(left) <= {each.at for each in decided}
