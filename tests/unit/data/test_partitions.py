"""Partitions are found by name, loaded in order, and cut at a moment."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.data.partitions import Partition, load, partitions

FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)


def test_partitions_come_in_order_and_other_files_are_passed_over(project, frame, store):
    store(frame)
    (project.partitions / "notes.parquet").write_text("not ours")
    (project.partitions / "2024-13.parquet").write_text("no such month")

    assert [part.month for part in partitions(project)] == ["2024-01", "2024-02"]


def test_until_keeps_the_months_that_start_before_it(project, frame, store):
    store(frame)

    assert [part.month for part in partitions(project, FEBRUARY)] == ["2024-01"]
    assert [part.month for part in partitions(project, datetime(2024, 2, 1, 1, tzinfo=UTC))] == ["2024-01", "2024-02"]


def test_a_missing_folder_is_named_with_what_to_do(project):
    with pytest.raises(DataUnavailable, match=r"no folder .*trips/data.*YYYY-MM"):
        partitions(project)


def test_nothing_before_until_names_the_first_partition(project, frame, store):
    store(frame)
    with pytest.raises(DataUnavailable, match=r"no data before 2023-05-01.*2024-01"):
        partitions(project, datetime(2023, 5, 1, tzinfo=UTC))


def test_a_time_without_a_timezone_is_refused(project):
    with pytest.raises(UsageError, match="has no timezone"):
        partitions(project, datetime(2024, 1, 1))  # noqa: DTZ001


def test_load_gives_all_rows_sorted_by_time_and_row_id(project, frame, store):
    store(frame.sample(frac=1, random_state=3).assign(extra=1))

    loaded = load(partitions(project), project)

    expected = frame.sort_values(["hour", "trip"], ignore_index=True)
    pd.testing.assert_frame_equal(loaded[list(frame.columns)], expected, check_dtype=False)
    assert "extra" not in loaded.columns
    assert str(loaded["hour"].dtype) == "datetime64[us, UTC]"


def test_load_cuts_at_the_moment_and_leaves_that_moment_out(project, frame, store):
    store(frame)
    moment = frame["hour"].iloc[700].to_pydatetime()

    loaded = load(partitions(project, moment), project, until=moment)

    assert len(loaded) == (frame["hour"] < moment).sum()
    assert loaded["hour"].max() < moment


def test_rows_without_a_time_stay_for_the_contract_to_find(project, frame, store):
    store(frame)
    path = project.partitions / "2024-01.parquet"
    broken = pd.read_parquet(path)
    broken.loc[3, "hour"] = pd.NaT
    broken.to_parquet(path, index=False)

    loaded = load(partitions(project), project, until=datetime(2025, 1, 1, tzinfo=UTC))

    assert (len(loaded), loaded["hour"].isna().sum()) == (len(frame), 1)


def test_a_torn_file_is_named(project, frame, store):
    store(frame)
    path = project.partitions / "2024-02.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataUnavailable, match=r"2024-02\.parquet does not read"):
        load(partitions(project), project)


def test_a_file_without_the_time_column_is_named(project, tmp_path):
    path = tmp_path / "2024-01.parquet"
    pd.DataFrame({"trip": ["a"]}).to_parquet(path)
    with pytest.raises(DataUnavailable, match=r"has no column 'hour'"):
        load([Partition("2024-01", path)], project)
