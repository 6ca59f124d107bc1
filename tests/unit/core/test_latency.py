"""A slow model is told from a busy machine, and what is noise is no verdict."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.statistics.latency import SURE, Latency, LatencyRound, judge_latency
from fullcircle.core.statistics.outcome import Outcome

BUDGET = 10.0
Both = tuple[float, float | None, float | None, float | None]


def measured(*rounds: Both, kept_ms: float | None = 0.7) -> Latency:
    """(p99, processor time, the reference's p99, its processor time) of each round."""
    return Latency(
        rounds=tuple(
            LatencyRound(p99_ms=p99, cpu_ms=cpu, reference_p99_ms=other, reference_cpu_ms=other_cpu)
            for p99, cpu, other, other_cpu in rounds
        ),
        reference="version 2",
        reference_kept_ms=kept_ms,
    )


BUSY: Both = (17.0, 4.0, 16.0, 4.0)
NOISE = "too noisy to tell, so it is measured again"
# rounds, p99 that the reference was released with, outcome, what the sentence ends with
CASES = [
    ([(17.0, 0.5, None, None), (0.7, 0.5, None, None)], 0.7, Outcome.PROMOTE,
     "is 0.7 ms, within the budget of 10 ms"),
    ([(90.0, 41.0, None, None)], 0.7, Outcome.REJECT,
     "over the budget of 10 ms: 41 ms of it are processor time, however busy the machine was"),
    ([(90.0, 14.0, None, None)] * 3, 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(30.0, 14.0, 19.0, 0.5)], 0.7, Outcome.REJECT,
     "14 ms of it are processor time, 28.0 times that of version 2, however busy the machine was"),
    ([(30.0, 14.0, 19.0, 13.0)], 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, 0.5, 16.0, 0.2)] * 3, None, Outcome.PROMOTE,
     "is 17 ms on a busy machine, where version 2 takes 16 ms in the same rounds: its own work of 0.5 ms a request is "
     "far within the budget of 10 ms"),
    ([BUSY] * 3, 0.7, Outcome.PROMOTE,
     "is 17 ms on a busy machine, where version 2 takes 16 ms in the same rounds: it works 1.00 times as long as that "
     "one, which was released within the budget of 10 ms"),
    ([BUSY] * 3, None, Outcome.INCONCLUSIVE,
     "over the budget of 10 ms, but version 2 takes 16 ms in the same rounds, and only 4 ms of it are processor time: "
     "too noisy to tell, so it is measured again"),
    ([BUSY] * 3, 12.0, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, 5.5, 16.0, 5.5)] * 3, 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, 4.0, 16.0, 3.0)] * 3, 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, None, 16.0, None)] * 30, 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, 0.5, 0.7, 0.5)] * (SURE - 1), 0.7, Outcome.INCONCLUSIVE, NOISE),
    ([(17.0, 0.5, 0.7, 0.5)] * SURE, 0.7, Outcome.REJECT,
     "version 2 was within it in 7 of the rounds in which both were asked in turn"),
    ([(17.0, 0.5, None, None)], 0.7, Outcome.INCONCLUSIVE, f"and there was nothing to hold it against: {NOISE}"),
    ([(math.nan, None, None, None)], 0.7, Outcome.REJECT, "is not a number, over the budget of 10 ms"),
    ([], 0.7, Outcome.REJECT, "is not a number, over the budget of 10 ms"),
]  # fmt: skip


@pytest.mark.parametrize(("rounds", "kept_ms", "outcome", "end"), CASES)
def test_what_is_said_of_a_latency(rounds: list[Both], kept_ms: float | None, outcome: Outcome, end: str) -> None:
    got, sentence = judge_latency(measured(*rounds, kept_ms=kept_ms), BUDGET)
    assert (got, sentence.startswith("p99 latency in the server is ")) == (outcome, True)
    assert sentence.endswith(end), sentence


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=40), st.floats(0.1, 100))
def test_a_model_as_fast_as_its_reference_is_never_rejected_however_busy_the_machine_is(
    waits: list[float], cpu: float
) -> None:
    assert judge_latency(measured(*((p99, cpu, p99, cpu) for p99 in waits)), BUDGET)[0] is not Outcome.REJECT


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=40), st.floats(10.1, 100))
def test_a_model_that_works_longer_than_the_budget_is_rejected_however_busy_the_machine_is(
    waits: list[float], cpu: float
) -> None:
    rounds = [(cpu + wait, cpu, 1 + wait, 0.5) for wait in waits]
    assert judge_latency(measured(*rounds), BUDGET)[0] is Outcome.REJECT
