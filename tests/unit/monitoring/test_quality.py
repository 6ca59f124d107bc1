"""Quality checks judge a value as the contract does, and long or many categories cost them little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.row_tensors import coded
from fullcircle.data.contract import check
from fullcircle.evaluation.slices import group_names
from fullcircle.monitoring.drift_metrics import Resamples, jensen_shannon, js_of_counts, null_jensen_shannon
from fullcircle.monitoring.quality import quality

PROJECT = Project(
    name="edges", owner="o@example.com", time="at", row_id="id", target=Binary("y", "yes"),
    columns=(Number("x", low=-0.1, high=0.1), Category("c")), torch=lambda *_: None,
)  # fmt: skip


def rows(x: np.ndarray, c: object = "a") -> pd.DataFrame:
    return pd.DataFrame({"x": x, "c": c})


@pytest.mark.parametrize("edge", [-0.1, 0.1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_value_at_the_edge_of_its_range_is_inside_for_the_contract_and_for_the_log(edge, kind):
    window = rows(np.full(1000, edge, kind))
    reference = rows(np.full(1000, 0.05, "float32"))

    assert quality(PROJECT, window, reference) == ()
    whole = window.assign(
        id=range(1000), y=0, at=pd.Series(pd.date_range("2024", periods=1000, tz="UTC")).astype("datetime64[us, UTC]")
    )
    assert check(PROJECT, whole).ok
    beyond = rows(np.full(1000, np.nextafter(np.float32(edge), np.float32(edge * 10)), "float32"))
    assert [issue.issue for issue in quality(PROJECT, beyond, reference)] == ["out of range"]


def test_categories_that_differ_in_a_nul_at_their_end_are_two():
    values = np.array(["a", "a\0", "a", "b"], dtype=object)

    codes, kinds = coded(values)

    assert (codes.tolist(), kinds.tolist()) == ([0, 1, 0, 2], ["a", "a\0", "b"])
    assert jensen_shannon(np.array(["a"] * 5, dtype=object), np.array(["a\0"] * 5, dtype=object)) > 0.8


def test_long_categories_and_as_many_as_rows_cost_little_memory():
    long = np.array([f"{number % 7:01024}" for number in range(50_000)], dtype=object)
    many = np.array([f"c{number}" for number in range(50_000)], dtype=object)
    draws = Resamples.of(50_000, 4_000, 4_000, n_resamples=200, seed=1)
    frame = rows(np.full(50_000, 0.5, "float32"), many)
    tracemalloc.start()
    try:
        null_jensen_shannon(many, draws)  # 200 x 50,000 counts, twice, and their logarithms
        jensen_shannon(long, long)
        quality(PROJECT, rows(frame["x"].to_numpy(), long), rows(frame["x"].to_numpy(), long))
        group_names(PROJECT, frame.assign(c=long), "c")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 180e6  # text of fixed width alone would be 205 MB a copy


def test_distances_in_blocks_are_those_of_one():
    rng = np.random.default_rng(3)
    pool = rng.choice([f"c{number}" for number in range(900)], 2000).astype(object)
    draws = Resamples.of(2000, 500, 500, n_resamples=3000, seed=1)
    codes, kinds = coded(pool)

    found = null_jensen_shannon(pool, draws)

    at = slice(2990, 3000)
    np.testing.assert_array_equal(found[at], js_of_counts(*draws.counts(codes, len(kinds), at)))
    assert len(found) == 3000
