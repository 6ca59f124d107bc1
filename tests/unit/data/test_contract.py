"""The data contract names what is wrong, where and how often, and keeps the batch aside."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import ContractViolated
from fullcircle.core.project import Category, Multilabel, Number
from fullcircle.core.records.dataset import Violation
from fullcircle.data.contract import check, enforce
from fullcircle.data.contract_rules import column_rules


def test_a_clean_batch_passes_and_extra_columns_do_not_matter(project, frame):
    report = check(project, frame.assign(comment="free text"))

    assert (report.ok, report.rows, report.violations) == (True, len(frame), ())


@pytest.mark.parametrize(
    ("column", "row", "value", "rule"),
    [
        ("distance", 4, -1.0, "is between 0 and 5000 mile"),
        ("distance", 4, np.nan, "is not missing"),
        ("distance", 4, np.inf, "is finite as float32"),
        ("gust", 4, -0.5, "is at least 0"),
        ("carrier", 4, "ZZ", "is one of the 2 known categories"),
        ("carrier", 4, "", "is not missing"),
        ("carrier", 4, None, "is not missing"),
        ("plane", 4, 7, "is text"),
        ("delay", 4, np.nan, "is not missing"),
        ("late", 4, 2, "is 0 or 1"),
        ("hour", 4, pd.NaT, "is not missing"),
        ("trip", 4, "t1-000003", "is unique"),
    ],
)
def test_one_wrong_value_is_one_violation_with_its_row(project, frame, column, row, value, rule):
    broken = frame.copy()
    if column == "plane":
        broken[column] = broken[column].astype(object)
    broken.loc[row, column] = value

    violations = [v for v in check(project, broken).violations if v.rule == rule]

    example = "t1-000003" if column == "trip" else "t1-000004"
    assert violations == [Violation(column=column, rule=rule, count=1, examples=(example,))]


def test_missing_values_of_nullable_columns_are_allowed(project, frame):
    assert check(project, frame.assign(gust=np.nan, plane=None)).ok


def test_a_missing_column_is_one_violation_of_every_row(project, frame):
    report = check(project, frame.drop(columns=["distance", "late"]))

    assert report.violations == (
        Violation(column="distance", rule="is there", count=len(frame), examples=()),
        Violation(column="late", rule="is there", count=len(frame), examples=()),
    )


def test_a_doubled_column_is_named(project, frame):
    doubled = pd.concat([frame, frame[["gust"]]], axis=1)

    assert [(v.column, v.rule) for v in check(project, doubled).violations] == [("gust", "is there once")]


def test_text_among_numbers_breaks_the_type_rule_alone(project, frame):
    broken = frame.astype({"distance": object})
    broken.loc[[2, 5], "distance"] = ["far", "12"]

    violations = check(project, broken).violations

    assert violations == (
        Violation(column="distance", rule="is a number", count=2, examples=("t1-000002", "t1-000005")),
    )


def test_times_without_a_timezone_break_the_contract(project, frame):
    naive = frame.assign(hour=frame["hour"].dt.tz_localize(None))

    assert [(v.column, v.rule, v.count) for v in check(project, naive).violations] == [
        ("hour", "is a time with a timezone", len(frame))
    ]


def test_three_examples_are_given_and_rows_without_an_id_are_counted(project, frame):
    broken = frame.assign(distance=-1.0)
    broken.loc[0, "trip"] = None

    found = {v.rule: v for v in check(project, broken).violations}

    assert found["is between 0 and 5000 mile"].examples == ("row 0", "t1-000001", "t1-000002")
    assert found["is not missing"].examples == ("row 0",)


def test_a_range_is_held_in_the_columns_own_precision():
    (rule,) = [rule for rule in column_rules(Number("share", low=0.1, high=0.3)) if "between" in rule.sentence]

    assert rule.holds(pd.Series([0.1, 0.3], dtype="float32")).all()
    assert not rule.holds(pd.Series([0.09999, 0.30001], dtype="float32")).any()


def test_a_batch_that_is_wrong_in_every_row_is_still_counted_in_full(project, make_rows):
    rows = make_rows(50_000)
    broken = rows.assign(distance=-1.0, carrier="ZZ", late=3)

    assert [v.count for v in check(project, broken).violations] == [50_000, 50_000, 50_000]


_CELLS = st.one_of(
    st.none(), st.floats(), st.integers(), st.text(max_size=3), st.booleans(), st.binary(max_size=2), st.just(pd.NaT)
)


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(_CELLS, min_size=1, max_size=8))
@pytest.mark.parametrize(
    "column", [Number("x", low=0, high=5), Category("x", known=("a",)), Category("x", nullable=True)], ids=repr
)
def test_no_value_whatever_makes_a_rule_fail_to_answer(column, cells):
    values = pd.Series(cells, dtype=object)

    for rule in column_rules(column):
        held = rule.holds(values)
        assert (held.dtype, len(held)) == (np.dtype(bool), len(values))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.sets(st.integers(0, 199), max_size=20))
def test_exactly_the_broken_rows_are_counted(project, make_rows, rows):
    broken = make_rows(200)
    broken.loc[sorted(rows), "distance"] = 6000.0

    report = check(project, broken)

    assert report.ok is (not rows)
    assert sum(v.count for v in report.violations) == len(rows)


def test_enforce_lets_a_clean_batch_pass_and_writes_nothing(project, frame, tmp_path):
    assert enforce(project, frame, tmp_path / "quarantine").ok
    assert not (tmp_path / "quarantine").exists()


def test_enforce_keeps_the_batch_aside_and_stops(project, frame, tmp_path):
    broken = frame.assign(distance=frame["distance"].where(frame.index != 4, -1.0), comment="kept too")

    with pytest.raises(ContractViolated, match=r"'distance is between 0 and 5000 mile' is broken by 1 rows") as caught:
        enforce(project, broken, tmp_path / "quarantine")

    (kept,) = (tmp_path / "quarantine").iterdir()
    assert str(kept) == caught.value.quarantine
    pd.testing.assert_frame_equal(pd.read_parquet(kept / "batch.parquet"), broken, check_dtype=False)
    written = json.loads((kept / "violations.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(caught.value.report)))


def test_the_same_batch_is_kept_once(project, frame, tmp_path):
    for _ in range(2):
        with pytest.raises(ContractViolated):
            enforce(project, frame.assign(late=7), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_batch_of_mixed_types_is_kept_too(project, frame, tmp_path):
    broken = frame.astype({"distance": object})
    broken.loc[2, "distance"] = "far"

    with pytest.raises(ContractViolated) as caught:
        enforce(project, broken, tmp_path)

    kept = pd.read_parquet(f"{caught.value.quarantine}/batch.parquet")
    assert "far" in kept["distance"].iloc[2]


def test_a_batch_that_cannot_be_kept_is_stopped_all_the_same(project, frame, tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ContractViolated, match="could not be kept"):
        enforce(project, frame.assign(late=7), tmp_path / "file" / "quarantine")


def test_a_target_of_several_columns_is_held_to_its_rule_in_each_of_them(project, frame):
    labelled = dataclasses.replace(project, target=Multilabel("tags", ("red", "green"), separate=True), gates=None)
    random = np.random.default_rng(4)
    rows = frame.assign(red=random.integers(0, 2, len(frame)), green=random.random(len(frame)) < 0.5)

    assert check(labelled, rows).violations == ()
    (violation,) = check(labelled, rows.assign(green=rows["green"].astype(object).where(rows.index != 3, 2))).violations
    assert (violation.column, violation.rule, violation.count) == ("green", "is 0 or 1", 1)
    assert {each.column for each in check(labelled, frame).violations} == {"red", "green"}
