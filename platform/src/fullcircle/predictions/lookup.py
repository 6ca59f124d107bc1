"""Looks up one prediction by id or row id: a segment's name says when its ids were made, so few files are opened."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.predictions import parquet_segments
from fullcircle.predictions.ids import moment_of
from fullcircle.predictions.log_files import extremes, read_parquet, read_wals, retry_read

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_AFTER_ALL = "~"
"""Sorts behind every character of an id."""


class LoggedRow(dict[str, object]):
    """One logged prediction: each column's value by its name.

    Attributes:
        answers: names of the columns that are numbers of its answer.
    """

    answers: tuple[str, ...] = ()


def find(folder: Path, prediction_id: str) -> LoggedRow | None:
    """One logged prediction with all its columns and its label (None while unknown); None when it is not there.

    Raises:
        DataUnavailable: a file that may hold it is damaged; names the file.
    """
    row = retry_read(lambda: _find(folder, prediction_id))
    if row is not None:
        row_id = str(row["row_id"])
        row["label"] = retry_read(lambda: _label(folder / "labels", row_id))
    return row


def beginning_with(folder: Path, beginning: str, limit: int = 5) -> tuple[str, ...]:
    """The ids that begin so, at most `limit` of them, rising."""

    def search() -> set[str]:
        found = set(_unsealed_ids(folder))
        for path in _may_hold(folder, beginning, beginning + _AFTER_ALL):
            found.update(read_parquet(path, _ids))
        return {id_ for id_ in found if id_.startswith(beginning)}

    return tuple(sorted(retry_read(search))[:limit])


def nearest(folder: Path, prediction_id: str, count: int = 3) -> tuple[str, ...]:
    """The ids that were made next before and after the time in this one; for a text that is no id, some of them."""

    def search() -> set[str]:
        found, spans = set(_unsealed_ids(folder)), {path: _span(path) for path in _segments(folder)}
        key = parquet_segments.digits(prediction_id)
        near = [path for path, (first, last) in spans.items() if first <= key <= last]
        before = ((last, path) for path, (_, last) in spans.items() if last < key)
        after = ((first, path) for path, (first, _) in spans.items() if first > key)
        near += [each[1] for each in (max(before, default=None), min(after, default=None)) if each]
        for path in near:
            found.update(read_parquet(path, _ids))
        return found

    ids = sorted(retry_read(search))
    at = max(0, bisect.bisect(ids, prediction_id) - (count + 1) // 2)
    return tuple(ids[at : at + count] if at + count <= len(ids) else ids[-count:])


def of_row(folder: Path, row_id: str) -> tuple[str, ...]:
    """The ids of all predictions that answered this row, rising. Looks into every file that its statistics allow."""

    def search() -> set[str]:
        found = {
            id_
            for _, records in read_wals(folder)
            for record in records
            for id_, row in zip(record.prediction_ids, record.row_ids, strict=True)
            if row == row_id
        }
        for path in _segments(folder):
            found.update(read_parquet(path, lambda file: _ids_of_row(file, row_id)))
        return found

    return tuple(sorted(retry_read(search)))


def _find(folder: Path, prediction_id: str) -> LoggedRow | None:
    for header, records in read_wals(folder):
        for record in records:
            if prediction_id in record.prediction_ids:
                return _first(parquet_segments.table(header, [record]), prediction_id)
    for path in _may_hold(folder, prediction_id, prediction_id):
        if (row := read_parquet(path, lambda file: _row_of(file, prediction_id))) is not None:
            return row
    return None


def _row_of(file: pq.ParquetFile, prediction_id: str) -> LoggedRow | None:
    for group in _groups(file, "prediction_id", prediction_id):
        if _first(file.read_row_group(group, ["prediction_id"]), prediction_id) is not None:
            return _first(file.read_row_group(group), prediction_id)
    return None


def _first(rows: pa.Table, prediction_id: str) -> LoggedRow | None:
    import pyarrow.compute as pc

    at = pc.index(rows["prediction_id"], _scalar(prediction_id)).as_py()
    if at < 0:
        return None
    row = LoggedRow(_plain(rows.slice(at, 1))[0])
    # A file that was merged over a change of classes has columns of both versions, empty where a row is not of theirs.
    known = tuple(name for name in parquet_segments.answers_in(rows.schema) if row.get(name) is not None)
    row.answers = known or tuple(name for name in ("probability",) if name in row)
    return row


def _ids(file: pq.ParquetFile) -> list[str]:
    found: list[str] = file.read(["prediction_id"])["prediction_id"].to_pylist()
    return found


def _ids_of_row(file: pq.ParquetFile, row_id: str) -> list[str]:
    found: list[str] = []
    for group in _groups(file, "row_id", row_id):
        rows = _equal(file.read_row_group(group, ["prediction_id", "row_id"]), row_id)
        found += rows["prediction_id"].to_pylist()
    return found


def _label(folder: Path, row_id: str) -> object:
    """The last label of a row as the label log kept it; of each file only the ids are read, unless the row is there."""
    found: list[tuple[Any, int, object]] = []
    for path in parquet_segments.files(folder):
        for row in read_parquet(path, lambda file: _labels_in(file, row_id)):
            found.append((row["arrived"], row["recorded"], row["label"]))
    if not found:
        return None
    label = max(found, key=lambda each: each[:2])[2]
    return dict(label) if isinstance(label, list) else label  # of several labels pairs of a name and 0 or 1


def _labels_in(file: pq.ParquetFile, row_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for group in _groups(file, "row_id", row_id):
        if _equal(file.read_row_group(group, ["row_id"]), row_id).num_rows:
            found += _plain(_equal(file.read_row_group(group), row_id))
    return found


def _equal(rows: pa.Table, row_id: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows["row_id"], _scalar(row_id)))


def _plain(rows: pa.Table) -> list[dict[str, Any]]:
    """As `rows.to_pylist()`, which imports pandas for the times: more than half of what a look-up takes."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            columns[name] = [None if each is None else moment_of(each) for each in column.cast(pa.int64()).to_pylist()]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _scalar(text: str) -> pa.Scalar:
    """As `pa.scalar(text)`, which imports pandas, too."""
    import pyarrow as pa

    utf8 = text.encode()
    return pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("=ii", 0, len(utf8))), pa.py_buffer(utf8))[0]


def _groups(file: pq.ParquetFile, column: str, value: str) -> Iterator[int]:
    """The row groups that may hold the value by their statistics."""
    for group in range(file.metadata.num_row_groups):
        known = extremes(file, group, column)
        if known is None or str(known[0]) <= value <= str(known[1]):
            yield group


def _may_hold(folder: Path, low: str, high: str) -> Iterator[Path]:
    """The segments that may hold ids between these two texts."""
    first, last = (text.replace("-", "")[: parquet_segments.SPAN_DIGITS] for text in (low, high))
    for path in _segments(folder):
        known = parquet_segments.span(path)
        if known is None or (known[0] <= last and first <= known[1]):
            yield path


def _segments(folder: Path) -> Iterator[Path]:
    for day in sorted((folder / "segments").glob("date=*")):
        yield from parquet_segments.files(day)


def _span(path: Path) -> tuple[str, str]:
    """The first digits of the least and the largest id; from the file's statistics where its name does not say."""
    if (known := parquet_segments.span(path)) is not None:
        return known

    def read(file: pq.ParquetFile) -> tuple[str, str]:
        groups = [extremes(file, group, "prediction_id") for group in range(file.metadata.num_row_groups)]
        lows, highs = ([str(each[end]) if each else "" for each in groups] for end in (0, 1))
        return parquet_segments.digits(min(lows, default="")), parquet_segments.digits(max(highs, default=""))

    return read_parquet(path, read)


def _unsealed_ids(folder: Path) -> Iterator[str]:
    for _, records in read_wals(folder):
        for record in records:
            yield from record.prediction_ids
