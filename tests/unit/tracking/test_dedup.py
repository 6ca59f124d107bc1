"""Each (metric, step) is new once, whoever tells it and however often."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import UsageError
from fullcircle.tracking.runs.metrics import EXACT, MetricDedup, whole

told = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 300)), max_size=200)


@given(told=told)
def test_whatever_is_told_in_whatever_order_is_new_the_first_time_and_never_again(told: list[tuple[str, int]]) -> None:
    dedup = MetricDedup()
    new = Counter((key, step) for key, step in told if dedup.new((key,), step))
    assert new == Counter(set(told))


@given(told=told, last=st.integers(0, 300))
def test_of_what_a_run_has_nothing_is_new(told: list[tuple[str, int]], last: int) -> None:
    dedup = MetricDedup({"a": last, "b": last}, {"b": range(0, last + 1, 2)})
    new = {(key, step) for key, step in told if dedup.new((key,), step)}
    had = {("a", step) for step in range(-5, last + 1)} | {("b", step) for step in range(0, last + 1, 2)}
    assert new == set(told) - had


def test_only_the_new_ones_of_a_step_are_told() -> None:
    dedup = MetricDedup({"loss": 3})
    assert dedup.new(("loss", "auc"), 3) == ("auc",)
    assert dedup.new(("loss", "auc"), 4) == ("loss", "auc")
    assert dedup.new(("loss", "auc"), 4) == ()
    assert (dedup.has("loss", 2), dedup.has("loss", 5), dedup.has("other", 0)) == (True, False, False)
    assert [dedup.beyond(["loss", "auc"], step) for step in (3, 4, 5)] == [False, False, True]
    assert dedup.beyond(["other"], 0)


def test_a_long_training_does_not_make_it_grow_and_its_newest_steps_may_come_in_any_order() -> None:
    dedup = MetricDedup()
    steps = range(0, 60 * EXACT, 3)
    assert all(len(dedup.new(("loss", "norm"), step)) == 2 for step in steps)
    assert len(dedup.logged) <= EXACT
    assert not any(dedup.new(("loss",), step) for step in steps)
    late = steps[-1] - 1
    assert [dedup.new(("loss",), step) for step in (late, late)] == [("loss",), ()]


def test_a_metric_that_is_told_seldom_is_not_taken_for_one_that_runs_ahead() -> None:
    dedup = MetricDedup()
    for step in range(1, 10 * EXACT):
        dedup.new(("loss",), step)
        if step % EXACT == 0:
            assert dedup.new(("epoch_loss",), step // EXACT)
    assert [bool(dedup.new(("epoch_loss",), epoch)) for epoch in (1, 9, 10)] == [False, False, True]


def test_threads_that_tell_the_same_at_once_tell_it_once() -> None:
    dedup, new = MetricDedup(), [Counter[int]() for _ in range(4)]

    def tell(mine: Counter[int]) -> None:
        mine.update(step for step in range(5000) if dedup.new(("loss",), step))

    threads = [threading.Thread(target=tell, args=(mine,)) for mine in new]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new, Counter()) == Counter(range(5000))


def test_a_step_that_is_no_whole_number_of_64_bits_is_refused() -> None:
    for step in (2.0, "2", None, np.float32(2), 2**63, -(2**63), 2**70):
        with pytest.raises(UsageError, match="a step is a whole number of at most 64 bits"):
            whole(step)  # type: ignore[arg-type]
    assert [(found, type(found)) for found in (whole(2), whole(np.int64(2)), whole(True))] == [
        (2, int),
        (2, int),
        (1, int),
    ]
