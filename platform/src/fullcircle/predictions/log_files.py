"""Reads the log's files beside any number of writers, with retries: nothing is locked, sealed or recovered.

The order matters: first the write-ahead files, then the segments. A row that is sealed in between is then seen twice,
never not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fullcircle.core.errors import DataUnavailable
from fullcircle.predictions import wal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ATTEMPTS = 5
_T = TypeVar("_T")


def read_wals(folder: Path) -> Iterator[tuple[wal.Header, list[wal.Record]]]:
    """What each write-ahead file of the log holds, those without a row left out."""
    for path in sorted((folder / "wal").glob(f"*{wal.SUFFIX}")):
        try:
            found = wal.read(path)
        except FileNotFoundError:  # sealed since we listed: its rows are in the segments, which come after
            continue
        if found.header is not None and found.records:
            yield found.header, found.records


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
