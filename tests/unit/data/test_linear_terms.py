"""A number target that is the sum of a few columns is found, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fullcircle.data.linear_terms import MOST_TERMS, linear_terms


def noise(rows: int, columns: int, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).gamma(2, 30, (rows, columns)).round().astype("float32")
    return pd.DataFrame(values, columns=[f"c{index}" for index in range(columns)])


def test_a_sum_is_found_with_its_weights() -> None:
    rows = noise(2000, 12)
    found = linear_terms(rows, (rows["c3"] + 2.5 * rows["c7"] - rows["c9"]).to_numpy(dtype=float) + 4)
    assert found == pytest.approx({"c7": 2.5, "c3": 1.0, "c9": -1.0}, rel=1e-4)


def test_the_difference_of_two_columns_that_are_nearly_alike_is_found() -> None:
    rng = np.random.default_rng(1)
    start = rng.uniform(0, 1e5, 2000)
    rows = noise(2000, 5).assign(start=start, end=start + rng.gamma(2, 10, 2000))
    assert set(linear_terms(rows, (rows["end"] - rows["start"]).to_numpy())) == {"start", "end"}


def test_a_copy_of_a_term_does_not_hide_it() -> None:
    rows = noise(2000, 6)
    rows["again"] = rows["c1"]
    found = linear_terms(rows, (rows["c1"] + rows["c2"]).to_numpy(dtype=float))
    assert "c2" in found
    assert len(set(found) & {"c1", "again"}) >= 1
    assert set(found) <= {"c1", "c2", "again"}


def test_missing_values_in_some_rows_do_not_hide_a_sum() -> None:
    rows = noise(2000, 6)
    target = (rows["c1"] + rows["c2"]).to_numpy(dtype=float)
    rows.loc[::7, "c1"] = np.nan
    rows["never"] = np.float32("nan")
    assert set(linear_terms(rows, target)) == {"c1", "c2"}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_few_rows_that_were_mended_by_hand_do_not_hide_a_sum(scale: float) -> None:
    rows = noise(2000, 6) * np.float32(scale)
    target = (rows["c1"] + rows["c2"]).to_numpy(dtype=float)
    target[:3] *= 1.05
    assert set(linear_terms(rows, target)) == {"c1", "c2"}


@pytest.mark.parametrize(
    ("rows", "target"),
    [
        (noise(2000, 40), np.random.default_rng(9).normal(size=2000)),
        (noise(2000, 3).assign(fixed=5.0), np.full(2000, 5.0)),
        (pd.DataFrame({"fixed": np.full(500, 3.0)}), np.arange(500.0)),
        (noise(90, 10), noise(90, 10).sum(axis=1).to_numpy(dtype=float)),
        (noise(0, 3), np.empty(0)),
        (pd.DataFrame(index=range(100)), np.arange(100.0)),
    ],
    ids=["noise", "a constant target", "constant columns", "few rows", "no rows", "no columns"],
)
def test_nothing_is_found_where_there_is_no_sum(rows: pd.DataFrame, target: np.ndarray) -> None:
    assert linear_terms(rows, target) == {}


def test_a_column_that_goes_closely_with_the_target_is_no_sum() -> None:
    rows = noise(3000, 4)
    target = rows["c0"].to_numpy(dtype=float) + np.random.default_rng(3).normal(0, 2, 3000)
    assert linear_terms(rows, target) == {}


def test_one_huge_value_that_a_column_shares_with_the_target_is_no_sum() -> None:
    rows = noise(2000, 4)
    target = np.random.default_rng(3).normal(0, 1, 2000)
    rows.loc[5, "c0"], target[5] = 1e7, 1e7
    assert linear_terms(rows, target) == {}


def test_the_total_of_many_columns_is_not_taken_for_a_leak() -> None:
    rows = noise(2000, MOST_TERMS + 20)
    assert linear_terms(rows, rows.sum(axis=1).to_numpy(dtype=float)) == {}


def test_a_sum_is_found_among_hundreds_of_columns() -> None:
    rows = noise(6000, 400)
    assert set(linear_terms(rows, (rows["c5"] + rows["c399"]).to_numpy(dtype=float))) == {"c5", "c399"}
