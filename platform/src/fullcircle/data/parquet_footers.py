"""Parquet footer statistics: row count and time span of a file without its rows being read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import DataUnavailable

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Footer:
    """A file by its own account.

    Attributes:
        rows: how many it has.
        first, last: its first and last moment, UTC; None where it has none.
        untimed: whether a row has no moment: none at all, or something that is none, such as a time without a zone.
    """

    rows: int
    first: datetime | None
    last: datetime | None
    untimed: bool


def footer(path: Path, time: str) -> Footer:
    """What a file says of itself. The rows are looked at only where it has no statistics of its times.

    Args:
        time: name of the column of times.

    Raises:
        DataUnavailable: it is not a Parquet file, or not all of one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return _read(file, time)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(f"partition {path}", error) from error


def unreadable(what: str, error: Exception) -> DataUnavailable:
    """The error of a file that does not read."""
    why = f"{type(error).__name__}: {(str(error) or 'no reason given').splitlines()[0]}"
    return DataUnavailable(f"{what} does not read ({why})", hint="it must be a Parquet file: make it again")


def is_moment(kind: object) -> bool:
    """Whether an Arrow type says when something was, beyond doubt: a timestamp with a timezone."""
    import pyarrow as pa

    return isinstance(kind, pa.TimestampType) and kind.tz is not None


def _read(file: pq.ParquetFile, time: str) -> Footer:
    rows, names = file.metadata.num_rows, file.schema_arrow.names
    if names.count(time) != 1 or not is_moment(file.schema_arrow.field(time).type):
        return Footer(rows=rows, first=None, last=None, untimed=rows > 0)
    found = _by_statistics(file, time) or _by_rows(file, time)
    return Footer(rows, *found) if rows else Footer(rows, None, None, untimed=False)


def _by_statistics(file: pq.ParquetFile, time: str) -> tuple[datetime | None, datetime | None, bool] | None:
    """First, last, whether one is missing; None where a row group does not say."""
    metadata = file.metadata
    columns = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    if time not in columns:
        return None
    groups = [metadata.row_group(i).column(columns.index(time)).statistics for i in range(metadata.num_row_groups)]
    if not groups or any(group is None or not group.has_min_max or not group.has_null_count for group in groups):
        return None
    try:
        first, last = min(group.min for group in groups), max(group.max for group in groups)
        return _utc(first), _utc(last), any(group.null_count for group in groups)
    except (OverflowError, ValueError, TypeError):  # a year that Python has no name for
        return None


def _by_rows(file: pq.ParquetFile, time: str) -> tuple[datetime | None, datetime | None, bool]:
    import pyarrow as pa
    import pyarrow.compute as pc

    times = file.read(columns=[time])[time]
    try:
        exact = pc.floor_temporal(times, unit="microsecond").cast(pa.timestamp("us", tz="UTC"))
        extremes = pc.min_max(exact.cast(pa.int64())).as_py()
        if extremes["min"] is None:
            return None, None, True
        first, last = (_EPOCH + timedelta(microseconds=extremes[end]) for end in ("min", "max"))
    except (pa.ArrowInvalid, OverflowError):
        return None, None, True
    return first, last, times.null_count > 0


def _utc(moment: Any) -> datetime:
    if hasattr(moment, "to_pydatetime"):  # of pandas: rounded down, as nanoseconds say nothing about a file's place
        moment = moment.floor("us").to_pydatetime(warn=False)
    assert isinstance(moment, datetime)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
