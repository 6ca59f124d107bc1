"""What is in a Parquet file comes out as it was, or the data contract names it: one reader for a folder and a file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.plain_values import EXACT
from fullcircle.core.project import Binary, Category, Image, Number, Project, Regression
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.row_tensors import identity, raw_frame
from fullcircle.data.contract import check, enforce
from fullcircle.data.data_diff import changes
from fullcircle.data.dvc_pointers import md5_of
from fullcircle.data.parquet_reader import load, read, single, typed
from fullcircle.data.partitions import partitions

JANUARY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
UTC_US = pa.timestamp("us", tz="UTC")


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    """A number, a category, an id, a time and a target; none of the columns has to be there."""
    made = Project(
        name="plain", owner="o@example.com", time="at", row_id="id", target=Binary("y", "yes"), folder=tmp_path,
        columns=(Number("x", nullable=True), Category("c", nullable=True)), torch=lambda *_: None,
    )  # fmt: skip
    made.partitions.mkdir()
    return made


@pytest.fixture
def keep(plain: Project) -> Callable[..., Path]:
    """Writes a month of rows; columns that are not named are as they should be."""

    def write(month: str = "2024-01", rows: int = 3, **columns: Any) -> Path:
        start = dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)
        usual = {
            "id": pa.array([f"{month}-{i}" for i in range(rows)]),
            "at": pa.array([start + dt.timedelta(hours=i) for i in range(rows)], UTC_US),
            "y": pa.array([i % 2 for i in range(rows)], pa.int8()),
            "x": pa.array([float(i) for i in range(rows)]),
            "c": pa.array(["a"] * rows),
        }
        path = plain.partitions / f"{month}.parquet"
        pq.write_table(pa.table(usual | columns), path)
        return path

    return write


def broken(project: Project) -> list[tuple[str, str, int]]:
    """(column, rule, rows) that the contract finds in the project's folder."""
    rows = read(partitions(project), project)
    return [(v.column, v.rule, v.count) for v in check(project, rows.frame).violations]


_KINDS: tuple[tuple[pa.DataType, Any], ...] = (
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=4)),
    (pa.large_string(), st.text(max_size=4)),
    (pa.dictionary(pa.int8(), pa.string()), st.text(max_size=2)),
    (pa.dictionary(pa.int8(), pa.int64()), st.integers(-5, 5)),
    (pa.binary(), st.binary(max_size=4)),
    (pa.decimal128(18, 2), st.decimals(-1000, 1000, places=2)),
    (pa.date32(), st.dates(dt.date(1800, 1, 1))),
    (pa.timestamp("us"), st.datetimes(dt.datetime(1800, 1, 1))),  # noqa: DTZ001
    (pa.timestamp("ms", tz="America/New_York"), st.datetimes(timezones=st.just(dt.UTC))),
    (pa.time64("us"), st.times()),
    (pa.duration("s"), st.timedeltas(dt.timedelta(-9), dt.timedelta(9)).map(lambda d: dt.timedelta(d.days))),
    (pa.list_(pa.float32()), st.lists(st.floats(width=32), max_size=2)),
    (pa.struct({"a": pa.int8()}), st.fixed_dictionaries({"a": st.integers(0, 1)})),
    (pa.null(), st.none()),
)


@st.composite
def _columns(draw: st.DrawFn) -> pa.Array:
    kind, values = draw(st.sampled_from(_KINDS))
    cells = draw(st.lists(st.none() | values, min_size=3, max_size=3))
    if kind == pa.float16():
        cells = [None if cell is None else np.float16(cell) for cell in cells]
    return pa.array(cells, kind)


def _number(cell: Any) -> float:
    return float("nan") if cell is None else float(np.float32(cell))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_columns(), second=_columns(), name=st.sampled_from(["x", "c", "id", "y", "at"]))
def test_a_value_of_any_type_comes_out_as_it_was_or_is_refused(plain, keep, first, second, name):
    keep("2024-01", **{name: first})
    keep("2024-02", **{name: second})

    rows = read(partitions(plain), plain)

    assert len(rows.frame) == 6
    if not check(plain, rows.frame).ok:
        return
    made = typed(rows.frame, plain)
    cells = [*first.to_pylist(), *second.to_pylist()]
    with np.errstate(over="ignore"):
        expected = {
            "x": lambda: [_number(cell) for cell in cells],
            "c": lambda: ["" if cell is None else cell for cell in cells],
            "id": lambda: [identity(cell) for cell in cells],
            "y": lambda: [float(cell) for cell in cells],
            "at": lambda: cells,
        }[name]()
    if name in ("x", "c"):
        found = raw_frame(made, plain.columns)[name].tolist()
    elif name == "id":
        found = [identity(cell) for cell in made["id"].tolist()]
    else:
        found = made[name].tolist()
    if name == "at":  # sorted by it
        found, expected = sorted(found), sorted(expected)
    assert [None if cell != cell else cell for cell in found] == [None if cell != cell else cell for cell in expected]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), 1_704_067_200),
        (pa.int64(), 1_704_067_200_000),
        (pa.float64(), 1_704_067_200.5),
        (pa.string(), "2024-01-01T00:00:00Z"),
        (pa.date32(), dt.date(2024, 1, 1)),
        (pa.date64(), dt.date(2024, 1, 1)),
        (pa.timestamp("us"), dt.datetime(2024, 3, 10, 2, 30)),  # noqa: DTZ001  # not once, in New York
        (pa.timestamp("ns"), dt.datetime(2024, 11, 3, 1, 30)),  # noqa: DTZ001  # twice, there
    ],
    ids=str,
)
def test_a_time_that_leaves_a_doubt_is_refused_from_a_folder_and_from_a_file(plain, keep, kind, value):
    path = keep(at=pa.array([value] * 3, kind))

    for parts in (partitions(plain), single(path)):
        rows = read(parts, plain, until=JANUARY + dt.timedelta(days=400))
        assert [(v.rule, v.count) for v in check(plain, rows.frame).violations] == [("is a time with a timezone", 3)]
        with pytest.raises(DataUnavailable, match="'at' holds no times with a timezone"):
            typed(rows.frame, plain)


def test_times_that_spark_kept_as_96_bits_have_no_zone_and_are_refused(plain, keep):
    path = keep()
    pq.write_table(pq.read_table(path), path, use_deprecated_int96_timestamps=True, store_schema=False)

    assert broken(plain) == [("at", "is a time with a timezone", 3)]


def test_what_an_earlier_version_took_for_utc_is_taken_for_it_where_its_training_is_repeated(plain, keep):
    moments = [dt.datetime(2024, 1, day) for day in (1, 2, 3)]  # noqa: DTZ001
    keep(at=pa.array(moments, pa.timestamp("ns")))
    until = dt.datetime(2024, 1, 3, tzinfo=dt.UTC)

    rows = read(partitions(plain, until), plain, until=until, naive_is_utc=True)

    assert rows.frame["at"].tolist() == [moment.replace(tzinfo=dt.UTC) for moment in moments[:2]]
    assert "2024-01.parquet: column 'at' has no timezone; it is taken for UTC, as it was then" in rows.notes


def test_other_zones_are_the_same_moments_and_are_said(plain, keep):
    moments = [JANUARY + dt.timedelta(hours=5 + i) for i in range(3)]
    keep(at=pa.array(moments, pa.timestamp("ns", tz="America/New_York")))

    rows = read(partitions(plain), plain)

    assert rows.frame["at"].tolist() == moments
    assert rows.notes == ("2024-01.parquet: column 'at' is in America/New_York: the same moments are read in UTC",)


def test_parts_of_a_microsecond_are_cut_off_with_a_word_and_never_into_the_future(plain, keep):
    before = -1  # a nanosecond before 1970, which is still before
    keep(at=pa.array([before, 1_704_067_200_000_000_999, None], pa.timestamp("ns", tz="UTC")))

    rows = read(partitions(plain), plain)

    expected = [dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC), JANUARY]
    assert rows.frame["at"].tolist()[:2] == expected
    assert rows.notes == ("2024-01.parquet: column 'at' has parts of a microsecond, which are cut off",)


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_years_that_are_none_are_refused(plain, keep, unit):
    keep(at=pa.array([1_704_067_200_000_000 // 1000] * 3, pa.timestamp(unit, tz="UTC")))  # milliseconds

    assert broken(plain) == ([("at", "lies in the years 1900 to 2200", 3)] if unit == "s" else [])


def test_rows_without_a_year_that_python_knows_are_refused(plain, keep):
    keep(at=pa.array([2**62] * 3, pa.timestamp("ms", tz="UTC")))

    assert [column for column, *_ in broken(plain)] == ["at"]


def test_a_moment_before_the_first_year_of_its_zone_does_not_end_the_process(plain, keep):
    keep(x=pa.array([-62_135_596_800] * 3, pa.timestamp("s", tz="America/New_York")))
    keep("2024-02")

    assert broken(plain) == [("x", "is a number", 3)]


def test_large_integers_stay_what_they_are_beside_a_gap(plain, keep):
    keep(id=pa.array([2**53 + 1, None, 2**53 + 3]), x=pa.array([2**53 - 1, None, 3]))

    frame = read(partitions(plain), plain).frame

    assert frame["id"].dropna().tolist() == [2**53 + 1, 2**53 + 3]
    assert typed(frame, plain)["x"].tolist()[0] == 2**53 - 1
    assert broken(plain) == [("id", "is not missing", 1)]


@pytest.mark.parametrize("gap", [None, 0])
@pytest.mark.parametrize(
    "other", [pa.array([1, 2, 3]), pa.array([0.5, 1, 2]), pa.array([1, 2, 3], pa.int32())], ids=str
)
def test_an_integer_that_no_number_holds_exactly_is_refused(plain, keep, gap, other):
    keep("2024-01", x=pa.array([2**53 + 1, gap, 1]))
    keep("2024-02", rows=len(other), x=other)

    assert broken(plain) == [("x", "is no integer beyond 2^53, which a number does not hold exactly", 1)]
    keep("2024-01", x=pa.array([2**53, gap, 1]))
    assert broken(plain) == []


@pytest.mark.parametrize(
    "beyond", [pa.array([2**53 + 1, 1, 2]), pa.array([Decimal(2**53 + 1), Decimal(1), None])], ids=["int64", "decimal"]
)
def test_an_integer_that_no_number_holds_exactly_is_no_target_and_no_number_in_whatever_a_file_keeps_it(
    plain, keep, beyond
):
    counting = dataclasses.replace(plain, target=Regression("y"), gates=())
    keep("2024-01", x=beyond, y=beyond.fill_null(3))
    keep("2024-02", x=pa.array([0.5, 1, 2]), y=pa.array([0.5, 1, 2]))

    assert broken(counting) == [
        ("x", "is no integer beyond 2^53, which a number does not hold exactly", 1),
        ("y", "is a finite number, and no integer beyond 2^53", 1),
    ]


def test_integer_ids_are_exact_and_text_ids_are_kept_to_the_letter(plain, keep):
    large = [2**63 - 1, 2**63 - 2, 0]
    keep(id=pa.array(large))
    assert sorted(load(partitions(plain), plain)["id"].tolist()) == sorted(large)

    texts = ["007", "7", " 7"]
    keep(id=pa.array(texts))
    assert load(partitions(plain), plain)["id"].tolist() == texts
    assert broken(plain) == []


def test_an_id_that_is_a_number_here_and_text_there_has_one_form(plain, keep):
    keep("2024-01", id=pa.array([7, 8, 9]))
    keep("2024-02", id=pa.array(["10", "11", "7"]))

    rows = read(partitions(plain), plain)

    assert rows.notes == ("column 'id' is of several kinds: numbers in 2024-01.parquet, text in 2024-02.parquet",)
    assert [(v.column, v.rule, v.count) for v in check(plain, rows.frame).violations] == [("id", "is unique", 1)]
    assert typed(rows.frame, plain)["id"].tolist() == ["7", "8", "9", "10", "11", "7"]


@pytest.mark.parametrize("ids", [[7.0, 8.0, 9.5], [True, False, None], [b"a", b"b", b"c"]], ids=str)
def test_an_id_that_other_programs_would_write_otherwise_is_refused(plain, keep, ids):
    keep(id=pa.array(ids))

    assert ("id", "is text or a whole number") in {(column, rule) for column, rule, _ in broken(plain)}


@pytest.mark.parametrize("column", ["c", "id"])
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("UA" + "\0" * 10, "has no NUL characters (such as CHAR(n) is padded with)"),
        ("U\0A", "has no NUL characters (such as CHAR(n) is padded with)"),
        ("a" * 1025, "has at most 1024 characters"),
        (b"caf\xe9", "is valid Unicode"),
    ],
    ids=["trailing NULs", "a NUL", "too long", "no UTF-8"],
)
def test_text_that_some_library_on_the_way_would_change_is_refused_at_the_start(
    plain, keep, tmp_path, column, text, rule
):
    bad = text if isinstance(text, bytes) else text.encode()
    raw = pa.array([b"UA", bad, b"c"], pa.binary())  # the first would hide "UA\0" from pandas
    keep(**{column: pa.Array.from_buffers(pa.string(), 3, raw.buffers())})

    assert broken(plain) == [(column, rule, 1)]
    with pytest.raises(Exception, match="breaks the data contract") as refused:  # and it can be kept and shown
        enforce(plain, read(partitions(plain), plain).frame, tmp_path / "quarantine")
    assert str(refused.value).isprintable()


def test_spaces_and_normal_forms_are_kept(plain, keep):
    texts = ["a ", "é", "e\u0301"]
    keep(c=pa.array(texts))

    assert broken(plain) == []
    assert raw_frame(load(partitions(plain), plain), plain.columns)["c"].tolist() == texts


def test_a_folder_and_a_file_are_read_alike_whatever_pandas_wrote_beside_the_rows(plain, keep):
    path = keep()
    frame = pd.read_parquet(path).astype({"c": "category"}).set_index("id")
    frame.to_parquet(path)

    by_folder, by_file = (read(parts, plain) for parts in (partitions(plain), single(path)))

    pd.testing.assert_frame_equal(by_folder.frame, by_file.frame)
    assert check(plain, by_file.frame) == check(plain, by_folder.frame)
    assert check(plain, by_file.frame).ok


def test_a_column_that_a_month_does_not_have_is_said(plain, keep):
    path = keep("2024-01")
    pq.write_table(pq.read_table(path).drop_columns(["x"]), path)
    keep("2024-02", x=pa.array([2**53 - 1, 2, 3]))

    rows = read(partitions(plain), plain)

    assert rows.notes == ("column 'x' is not in 2024-01.parquet: 3 rows have no value of it",)
    assert rows.frame["x"].tolist()[3:] == [2**53 - 1, 2, 3]


def test_a_column_that_is_there_twice_is_named(plain, keep):
    path = keep()
    table = pq.read_table(path)
    pq.write_table(table.append_column("c", table["c"]), path)

    with pytest.raises(DataUnavailable, match=r"2024-01\.parquet has the column 'c' twice"):
        read(partitions(plain), plain)


def test_an_edge_of_a_range_is_the_same_in_either_precision(plain, keep, tmp_path):
    edged = dataclasses.replace(plain, columns=(Number("x", low=0.1, high=0.3), Category("c")))
    for kinds in [(pa.float32(), pa.float64()), (pa.float32(), pa.float32()), (pa.float64(), pa.decimal128(3, 1))]:
        for month, kind in zip(("2024-01", "2024-02"), kinds, strict=True):
            cells = [decimal.Decimal(c) for c in ("0.1", "0.2", "0.3")]
            keep(month, x=pa.array(cells).cast(kind))
        assert broken(edged) == []
    keep("2024-01", x=pa.array([0.0999, 0.2, 0.3001], pa.float32()))
    assert broken(edged) == [("x", "is between 0.1 and 0.3", 2)]


def test_images_are_what_they_were(tmp_path):
    project = Project(
        name="seen", owner="o@example.com", time="at", row_id="id", target=Binary("y", "yes"), folder=tmp_path,
        columns=(Image("i", shape=(1, 2, 1)),), torch=lambda inputs, params: None,
    )  # fmt: skip
    cells = pa.array([[0, 255], [1, 2]], pa.list_(pa.uint8()))
    at = pa.array([JANUARY] * 2, UTC_US)
    pq.write_table(pa.table({"i": cells, "at": at, "id": ["a", "b"], "y": [0, 1]}), tmp_path / "any.parquet")

    rows = load(single(tmp_path / "any.parquet"), project)

    assert [cell.tolist() for cell in raw_frame(rows, project.columns)["i"]] == cells.to_pylist()


@pytest.mark.parametrize("distinct", [50, 30_000], ids=["few long categories", "a category a row"])
def test_categories_cost_their_length_once_not_once_a_row(plain, keep, distinct):
    rows, length = 30_000, 1024 if distinct == 50 else 12
    words = np.array([f"{number:0{length}}" for number in range(distinct)], dtype=object)
    kind = pa.large_string() if distinct == 50 else pa.string()  # polars writes the former
    keep(rows=rows, c=pa.array(words[np.arange(rows) % distinct], kind))
    parts = partitions(plain)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        frame = load(parts, plain)
        assert check(plain, frame).ok
        raw_frame(frame, plain.columns)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert frame["c"].nunique() == distinct
    assert peak < 60e6  # a single copy as text of fixed width would be 123 MB
    assert pa.total_allocated_bytes() - before < 20e6


def test_a_large_integer_that_changed_by_one_beside_a_gap_is_a_change(plain, keep, tmp_path):
    path = keep(x=pa.array([2**53, None, 1]))
    version = DataVersion(
        project="plain", digest="d", pointer="", files=((path.name, md5_of(path)),), rows=3, size_bytes=1,
        start=JANUARY, end=JANUARY, fingerprint="",
    )  # fmt: skip
    (tmp_path / "original").mkdir()
    path.rename(tmp_path / "original" / path.name)
    keep(x=pa.array([2**53 + 1, None, 1]))

    ((_, what),) = changes(version, plain.partitions, tmp_path / "original")

    assert what.endswith(f"row 0, column 'x': {2**53} -> {2**53 + 1}")
    assert EXACT == 2**53
