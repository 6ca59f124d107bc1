"""Partitions are found by name, loaded in order, and cut at a moment."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.data.contract import check
from fullcircle.data.parquet_reader import count, load, read
from fullcircle.data.partitions import Partition, partitions, survey

FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)


def test_partitions_come_in_order_and_what_cannot_hold_rows_is_passed_over_and_named(project, frame, store):
    store(frame)
    for name in ("README.md", ".gitignore", "_SUCCESS", ".2024-03.parquet.crc", "2024-01.parquet.dvc"):
        (project.partitions / name).write_text("no rows")
    (project.partitions / ".cache").mkdir()

    found = survey(project)

    assert [part.month for part in found.parts] == ["2024-01", "2024-02"]
    assert set(found.ignored) == {path.name for path in project.partitions.iterdir()} - {
        part.path.name for part in found.parts
    }
    assert found.notes == (f"passed over in the data folder: {', '.join(found.ignored)}",)


def spark(folder: Path) -> None:
    folder.mkdir()
    pd.DataFrame({"trip": ["a"]}).to_parquet(folder / "part-00000-c000.snappy.parquet")
    (folder / "_SUCCESS").touch()


@pytest.mark.parametrize(
    ("name", "made", "why"),
    [
        ("2024-03.parquet", spark, "is a folder"),
        ("month=2024-03", spark, "is a folder"),
        ("_delta_log", Path.mkdir, "is a folder"),
        ("README", Path.mkdir, "is a folder"),
        (
            "2024-03.parquet",
            lambda path: path.symlink_to("gone.parquet"),
            "is a link to gone.parquet, which",
        ),
        ("2024-03.parquet", lambda path: path.symlink_to(path), "is a link to"),
        ("2024-03.parquet", Path.touch, r"is empty \(0 bytes\)"),
        ("2024-03.parquet", os.mkfifo, "is no regular file"),
        ("2024-03.parquet.dvc", Path.touch, r"not here \('dvc pull 2024-03\.parquet\.dvc'\)"),
        ("2024-3.parquet", Path.touch, r"rename it to 2024-03\.parquet"),
        ("2024_06.parquet", Path.touch, r"rename it to 2024-06\.parquet"),
        ("202406.pq", Path.touch, r"rename it to 2024-06\.parquet"),
        ("2024-03.PARQUET", Path.touch, r"rename it to 2024-03\.parquet"),
        ("2024-01.Parquet", Path.touch, "is not named <YYYY-MM>.parquet;"),  # there is one already
        ("2024-13.parquet", Path.touch, "is not named"),
        ("2024-03 (1).parquet", Path.touch, "is not named"),
        ("２０２４-０３.parquet", Path.touch, "is not named"),
        ("2024-03.parquet.tmp", Path.touch, "is not named"),
        ("_2024-03.parquet", Path.touch, "is not named"),
        ("2024-03.csv", Path.touch, "is not named"),
        ("march", Path.touch, "is not named"),
        ("2024-03\x1b[2J.parquet", Path.touch, r"2024-03\\x1b\[2J\.parquet is not named"),
    ],
)
def test_what_might_be_rows_and_is_not_read_stops_by_its_name(project, frame, store, name, made, why):
    store(frame)
    made(project.partitions / name)

    with pytest.raises(DataUnavailable, match=f"would be left out: .*{why}") as refused:
        partitions(project)

    assert len(str(refused.value).splitlines()) == 1


def test_many_strays_are_one_short_line(project, frame, store):
    store(frame)
    for day in range(1, 29):
        (project.partitions / f"2024-02-{day:02}.parquet").touch()

    with pytest.raises(DataUnavailable, match=r"2024-02-08\.parquet is not named <YYYY-MM>\.parquet; and 20 more"):
        partitions(project)


def test_data_that_was_not_pulled_says_how(project):
    project.folder.mkdir()
    (project.folder / "data.dvc").touch()

    with pytest.raises(DataUnavailable, match=r"no folder .*'dvc pull data\.dvc' brings it here"):
        partitions(project)


def test_a_file_is_found_through_a_link(project, frame, store, tmp_path):
    store(frame)
    path = project.partitions / "2024-02.parquet"
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")

    assert len(load(partitions(project), project)) == len(frame)


def test_months_that_are_not_read_and_months_that_are_not_there_are_named_with_their_rows(project, make_rows, store):
    store(make_rows(2000))
    later = make_rows(300, start=datetime(2024, 4, 1, tzinfo=UTC), seed=2)
    store(later)

    assert survey(project).notes == ("there is no file for the month after 2024-02.parquet",)
    assert survey(project, datetime(2024, 4, 1, tzinfo=UTC)).notes == (
        "not read, as no row of it is before 2024-04-01 00:00 UTC: 2 files from 2024-04.parquet to 2024-05.parquet "
        "(300 rows)",
    )


def test_rows_in_the_file_of_another_month_are_read_for_what_they_are(project, frame, store):
    store(frame)
    early = project.partitions / "2024-01.parquet"
    early.rename(project.partitions / "2024-06.parquet")

    found = survey(project, FEBRUARY)

    assert [part.path.name for part in found.parts] == ["2024-06.parquet"]
    assert "2024-06.parquet has rows of other months (2024-01-01" in found.notes[1]
    assert len(load(found.parts, project, until=FEBRUARY)) == (frame["hour"] < FEBRUARY).sum()


def test_rows_that_lie_in_two_files_break_the_contract(project, frame, store):
    store(frame)
    shutil.copy(project.partitions / "2024-02.parquet", project.partitions / "2024-03.parquet")

    found = check(project, read(partitions(project), project).frame)

    twice = int((frame["hour"] >= FEBRUARY).sum())
    assert [(v.column, v.rule, v.count) for v in found.violations] == [("trip", "is unique", twice)]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(month=st.lists(st.integers(1, 12), min_size=60, max_size=60), hours=st.integers(0, 24 * 60))
def test_every_row_is_read_or_said_not_to_be_in_whatever_file_it_lies(project, make_rows, month, hours):
    rows = make_rows(60)
    shutil.rmtree(project.partitions, ignore_errors=True)
    project.partitions.mkdir(parents=True)
    for number, part in rows.groupby(pd.Series(month)):
        part.to_parquet(project.partitions / f"2024-{number:02}.parquet", index=False)
    until = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    expected = set(rows.loc[rows["hour"] < until, "trip"])

    if not expected:
        with pytest.raises(DataUnavailable, match="has no data before"):
            survey(project, until)
        return
    found = survey(project, until)
    loaded = load(found.parts, project, until=until)

    assert set(loaded["trip"]) == expected
    assert count(found.parts, project, until) == len(loaded)
    left = sum(part.footer.rows for part in found.skipped) + sum(
        int(note.split(": ")[1].split(" of ")[0]) for note in read(found.parts, project, until=until).notes
    )
    assert len(loaded) + left == len(rows)


def test_a_file_that_changed_since_it_was_looked_at_is_named(project, frame, store):
    store(frame)
    parts = partitions(project)
    pd.read_parquet(parts[1].path).head(-1).to_parquet(parts[1].path, index=False)

    with pytest.raises(DataUnavailable, match=r"2024-02\.parquet had .* rows and has .*it changed while it was read"):
        load(parts, project)


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
