"""Reads the log's files beside any number of writers, with retries: nothing is locked, sealed or recovered.

The order matters: first the write-ahead files, then the segments. A row that is sealed in between is then seen twice,
never not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fullcircle.core.errors import DataUnavailable
from fullcircle.predictions import parquet_segments, wal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ATTEMPTS = 5
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class WindowFiles:
    """Where the rows of a window are, each in one place.

    Attributes:
        segments: by day, then by name. None of them holds rows that another one holds as well.
        unsealed: rows of any event time that are in none of them, a table for each writer: its columns are those that
            were logged then.
    """

    segments: tuple[Path, ...]
    unsealed: tuple[pa.Table, ...]


def window_files(folder: Path, start: datetime, end: datetime) -> WindowFiles:
    """Where the rows with events in [start, end) are now.

    Raises:
        FileNotFoundError: rows were sealed while we looked; see `retry_read`.
    """
    waiting = list(_wal_files(folder))
    segments: list[Path] = []
    for day in parquet_segments.day_folders(folder / "segments", start, end):
        segments += _each_once(parquet_segments.files(day))
    unsealed = [_not_sealed(folder, *each) for each in waiting]
    for path, *_ in waiting:
        path.stat()  # gone: its rows may be in a merged file by now, under another name
    return WindowFiles(segments=tuple(segments), unsealed=tuple(rows for rows in unsealed if rows.num_rows))


def _each_once(files: Sequence[Path]) -> list[Path]:
    """Without those whose rows a merged file holds: a merge is going on, or was killed."""
    if len(files) < 2:
        return list(files)
    gone = {name for path in files for name in read_parquet(path, lambda f: parquet_segments.replaced(f.schema_arrow))}
    return [path for path in files if path.name not in gone]


def _not_sealed(folder: Path, path: Path, header: wal.Header, records: list[wal.Record]) -> pa.Table:
    """The rows of a write-ahead file without those of days that are sealed already: its writer is at it, or died."""
    import pyarrow as pa

    rows = parquet_segments.table(header, records)
    left = [
        part for day, part in parquet_segments.by_day(rows) if not parquet_segments.is_sealed(folder, day, path.stem)
    ]
    return pa.concat_tables(left) if left else rows.slice(0, 0)


def read_wals(folder: Path) -> Iterator[tuple[wal.Header, list[wal.Record]]]:
    """What each write-ahead file of the log holds, those without a row left out."""
    for _, header, records in _wal_files(folder):
        yield header, records


def _wal_files(folder: Path) -> Iterator[tuple[Path, wal.Header, list[wal.Record]]]:
    for path in sorted((folder / "wal").glob(f"*{wal.SUFFIX}")):
        try:
            found = wal.read(path)
        except FileNotFoundError:  # sealed since we listed: its rows are in the segments, which come after
            continue
        if found.header is not None and found.records:
            yield path, found.header, found.records


def read_segment(path: Path, wanted: Sequence[str] | None = None) -> pa.Table:
    """The rows of a segment: all columns, or of the wanted ones those that it has.

    Raises:
        DataUnavailable: it is damaged; names it.
        FileNotFoundError: it was merged into another one; see `retry_read`.
    """

    def read(file: pq.ParquetFile) -> pa.Table:
        there = set(file.schema_arrow.names)
        return file.read(None if wanted is None else [name for name in wanted if name in there])

    return read_parquet(path, read)


def read_parquet(path: Path, read: Callable[[pq.ParquetFile], _T]) -> _T:
    """What `read` gets from the open file. Raises as `read_segment`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return read(file)
    except pa.ArrowException as error:
        raise DataUnavailable(
            f"{path} cannot be read ({error})", hint="it is damaged: bring it back or remove it"
        ) from error


def extremes(file: pq.ParquetFile, group: int, column: str) -> tuple[object, object] | None:
    """(least, largest) value of a column in a row group by the file's own statistics; None where they are missing."""
    if column not in file.schema_arrow.names:
        return None
    # Of an image's list the Parquet columns are more than the names: found by path.
    described = file.metadata.row_group(group)
    for index in range(described.num_columns):
        if described.column(index).path_in_schema == column:
            found = described.column(index).statistics
            return (found.min, found.max) if found is not None and found.has_min_max else None
    return None


def retry_read(read: Callable[[], _T]) -> _T:
    """Read again when a file went away under our eyes: a merge had put its rows into another one."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()
