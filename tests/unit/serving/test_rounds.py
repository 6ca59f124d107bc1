"""A latency over the budget is measured again: the machine may have been busy with something else."""

from __future__ import annotations

from fullcircle.serving.rehearsal import ROUNDS, _least_p99_ms


def test_rounds_go_on_until_one_is_within_the_budget_and_the_least_counts() -> None:
    busy = [[0.05] * 300] * (2 * ROUNDS)
    rounds = iter([*busy, [0.002] * 300, [0.001] * 300])
    assert _least_p99_ms(lambda: next(rounds), 10.0) == 2.0


def test_of_rounds_within_the_budget_a_few_are_enough() -> None:
    rounds = iter([[0.001 * number] * 300 for number in (4, 2, 5)])
    assert _least_p99_ms(lambda: next(rounds), 10.0) == 2.0
    assert next(rounds, None) is None
