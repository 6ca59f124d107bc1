"""What is written into a run comes back as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.statistics.interval import Interval
from fullcircle.store.json_values import to_json
from fullcircle.tracking.runs.run_schema import data_version, flat_params, metrics_of

times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
versions = st.builds(
    DataVersion,
    project=st.text(),
    digest=st.text(),
    pointer=st.text(),
    files=st.lists(st.tuples(st.text(), st.text())).map(tuple),
    rows=st.integers(0, 10**12),
    size_bytes=st.integers(0, 10**15),
    start=times,
    end=times,
    fingerprint=st.text(),
)


@given(version=versions)
def test_a_data_version_comes_back_as_it_was(version: DataVersion) -> None:
    assert data_version(to_json(version)) == version


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": 1}', "null"])
def test_a_damaged_data_version_is_named(text: str) -> None:
    with pytest.raises(DataUnavailable, match="the data version kept with the run is damaged"):
        data_version(text)


def test_nested_parameters_get_dotted_names_and_long_ones_are_cut() -> None:
    nested = dict(flat_params({"a": {"b": {"c": 1}}, "long": "x" * 9000, "none": None}))
    assert nested == {"a.b.c": "1", "long": "x" * 6000, "none": "None"}


def test_an_evaluation_becomes_flat_metrics_with_its_intervals() -> None:
    metrics = {"brier": Interval(value=0.2, low=0.1, high=0.3)}
    evaluation = Evaluation(framework="torch", rows=7, summary={"positives": 2}, metrics=metrics, slices=())
    expected = {"test_rows": 7.0, "test_brier": 0.2, "test_brier_low": 0.1, "test_brier_high": 0.3}
    assert metrics_of(evaluation, "test") == expected
