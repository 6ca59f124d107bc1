"""Sealed Parquet segments of the prediction log: immutable, one folder for each day of the events.

`segments/date=<YYYY-MM-DD>/<name>.<first>-<last>.parquet`, where <first> and <last> are the milliseconds in which the
least and the largest prediction id in it were made, in hex: whoever looks for one id need not open the others (files
that an earlier version wrote have no such part). A file appears whole (written aside, synced, renamed) and never
changes. Small files of a day are merged into one now and then; for a moment a row is then in two files, so whoever
reads keeps one row for each prediction id.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.system.files import replacing
from fullcircle.predictions.ids import PredictionIds
from fullcircle.predictions.wal import Header, Record

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

IDENTITY = ("prediction_id", "row_id", "event_time", "logged_at", "model_version", "model_digest")
RESERVED = (*IDENTITY, "label")
"""Names that the log gives to its own columns. A project's columns may not have them, nor those of its answers."""

ROWS_A_GROUP = 20_000
"""So many rows are read where one is looked for: each row group has statistics of its own."""

FINGERPRINT = ".fingerprint"
"""Suffix of the file beside a segment that says what its rows are like, see `fingerprints`."""
LABELS = ".labels"
"""Suffix of the file beside a segment that has the labels of its rows, see `fingerprints.labelled`."""
_ANSWER = {b"fullcircle": b"answer"}
_REPLACES = b"fullcircle.replaces"
MERGE_FROM_FILES = 32
MERGE_UP_TO_BYTES = 8 << 20
SPAN_DIGITS = 12
"""As many hexadecimal digits of an id are the millisecond in which it was made."""
_DAY_US = 86_400_000_000
_SPAN = re.compile(rf".+\.([0-9a-f]{{{SPAN_DIGITS}}})-([0-9a-f]{{{SPAN_DIGITS}}})\.parquet")
_names = PredictionIds()


def table(header: Header, records: Sequence[Record]) -> pa.Table:
    """The rows of some records, in the order in which they were logged."""
    import pyarrow as pa

    times = pa.timestamp("us", tz="UTC")
    rows = [len(record.prediction_ids) for record in records]
    columns: dict[str, pa.Array] = {
        "prediction_id": pa.array([id_ for record in records for id_ in record.prediction_ids], pa.string()),
        "row_id": pa.array([id_ for record in records for id_ in record.row_ids], pa.string()),
        "event_time": pa.array(_joined([record.event_times for record in records], "<i8")).cast(times),
        "logged_at": pa.array(np.repeat(np.array([r.logged_at for r in records], "<i8"), rows)).cast(times),
        "model_version": _repeated([record.model_version for record in records], rows),
        "model_digest": _repeated([record.model_digest for record in records], rows),
    }
    # Each record holds (numbers, rows): side by side they are (numbers, all rows).
    shape = (len(header.numbers), -1)
    numbers = [np.frombuffer(r.numbers, "<f4").reshape(*shape) for r in records] if header.numbers else []
    joined = np.concatenate(numbers, axis=1) if numbers else np.empty((len(header.numbers), 0), "<f4")
    for index, name in enumerate(header.numbers):
        columns[name] = pa.array(joined[index])
    for index, name in enumerate(header.categories):
        columns[name] = pa.array([text for record in records for text in record.categories[index]], pa.string())
    for index, (name, values) in enumerate(header.images):
        flat = _joined([record.images[index] for record in records], "<f4")
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat), values)
    answers = _joined([record.answers for record in records], "<f4").reshape(-1, len(header.answers))
    for index, name in enumerate(header.answers):
        columns[name] = pa.array(answers[:, index])
    rows_of_all = pa.table(columns)
    if header.answers == ["probability"]:  # as every file of before
        return rows_of_all
    fields = [field.with_metadata(_ANSWER) if field.name in header.answers else field for field in rows_of_all.schema]
    return rows_of_all.cast(pa.schema(fields))


def answers_in(schema: pa.Schema) -> tuple[str, ...]:
    """Which columns of a segment are numbers of the answer, by their marks; without any there is one probability."""
    marked = tuple(field.name for field in schema if field.metadata and _ANSWER.items() <= field.metadata.items())
    return marked or ("probability",)


def write(
    rows: pa.Table, segments: Path, name: str, sealed: Callable[[Path, pa.Table], None] | None = None
) -> list[Path]:
    """Write the rows as one file a day of their events. Writing the same rows by the same name again changes nothing.

    Args:
        sealed: called with each file and its rows, once it is there.

    Raises:
        OSError: disk full or gone; what was written until then is whole and harmless.
    """
    written = []
    for day, part in by_day(rows):
        path = day_folder(segments, day) / _called(name, part)
        write_table(part, path)
        if sealed is not None:
            sealed(path, part)
        written.append(path)
    return written


def by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each day of events, in UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = np.floor_divide(rows["event_time"].cast(pa.int64()).to_numpy(), _DAY_US)
    for day in np.unique(days):
        yield date(1970, 1, 1) + timedelta(days=int(day)), rows.filter(pc.equal(pa.array(days), int(day)))


def write_table(rows: pa.Table, path: Path) -> None:
    """Write a Parquet file so that it is either not there or complete, on disk, under its name."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as part, part.open("wb") as file:
        pq.write_table(rows, file, compression="zstd", row_group_size=ROWS_A_GROUP)


def day_folder(segments: Path, day: date) -> Path:
    """Where the rows of one day of events lie."""
    return segments / f"date={day:%Y-%m-%d}"


def day_of(path: Path) -> date:
    """The day of the events in a segment, by the folder that it lies in."""
    return date.fromisoformat(path.parent.name.removeprefix("date="))


def is_sealed(folder: Path, day: date, name: str) -> bool:
    """Whether the rows of one day are in a segment that was written by that name."""
    return any(day_folder(folder / "segments", day).glob(f"{name}.*parquet"))


def day_folders(segments: Path, start: datetime, end: datetime) -> list[Path]:
    """The folders that hold rows with event times in [start, end), by listing, not by counting up the days."""
    ends = (start, max(start, end - timedelta(microseconds=1)))
    first, last = (day_folder(segments, moment.astimezone(UTC).date()).name for moment in ends)
    return sorted(path for path in segments.glob("date=*") if first <= path.name <= last)


def files(folder: Path) -> list[Path]:
    """The complete Parquet files of a folder, oldest name first."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def span(path: Path) -> tuple[str, str] | None:
    """When the ids in a segment were made, by its name: the first digits of the least and the largest of them."""
    found = _SPAN.fullmatch(path.name)
    return (found[1], found[2]) if found else None


def digits(prediction_id: str) -> str:
    """The digits of an id that say when it was made."""
    return prediction_id.replace("-", "")[:SPAN_DIGITS]


def replaced(schema: pa.Schema) -> tuple[str, ...]:
    """The names of the files whose rows a merged file holds. Where one of them is still there, its rows are twice."""
    said = (schema.metadata or {}).get(_REPLACES)
    return tuple(json.loads(said)) if said else ()


def remove(path: Path) -> None:
    """Remove a file of the log, and what lies beside it about it. Raises OSError."""
    path.unlink(missing_ok=True)
    for suffix in (FINGERPRINT, LABELS):
        path.with_suffix(suffix).unlink(missing_ok=True)


def merge(
    folder: Path,
    *,
    unique_by: str | None = None,
    sorted_by: str | None = None,
    from_files: int = MERGE_FROM_FILES,
    sealed: Callable[[Path, pa.Table], None] | None = None,
) -> int:
    """Merge a folder's small Parquet files into one, when there are many; how many were merged.

    Readers stay right throughout: the merged file is in place before the small ones go, and it names them. One process
    merges at a time, and finishes first what a killed one left.

    Args:
        unique_by: a column of which each value is kept once (a row may lie in two files after a crash).
        sorted_by: a column by which the merged file is sorted: a value is then in one row group or few.
        from_files: do nothing below this many small files.
        sealed: as for `write`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _alone(folder / ".merge.lock") as alone:
        small = [path for path in files(folder) if path.stat().st_size <= MERGE_UP_TO_BYTES] if alone else []
        if len(small) < from_files:
            return 0
        batch, size = [], 0
        for path in _not_replaced(folder, small):
            size += path.stat().st_size
            if size > 2 * MERGE_UP_TO_BYTES:  # compressed bytes: bounds the memory
                break
            batch.append(path)
        if len(batch) < 2:
            return 0
        try:
            rows = pa.concat_tables([pq.ParquetFile(path).read() for path in batch], promote_options="default")
        except pa.ArrowException as error:  # a column changed its type, or a file is damaged: they stay as they are
            logger.warning("%s: %d files are not merged (%s)", folder, len(batch), error)
            return 0
        if unique_by is not None:
            _, first = np.unique(rows[unique_by].to_numpy(), return_index=True)
            rows = rows.take(pa.array(np.sort(first)))
        if sorted_by is not None:
            rows = rows.sort_by(sorted_by)
        named = json.dumps([path.name for path in batch])
        rows = rows.replace_schema_metadata({_REPLACES: named})
        merged = folder / _called(_names.take(1)[0], rows)
        write_table(rows, merged)
        if sealed is not None:
            sealed(merged, rows)
        for path in batch:
            remove(path)
        return len(batch)


def _not_replaced(folder: Path, small: Sequence[Path]) -> list[Path]:
    """The small files whose rows are in no merged file; the others, which a killed merge left, are removed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    gone: set[str] = set()
    for path in files(folder):
        # A damaged file replaces nothing that anybody could read; it is named by whoever reads it.
        with contextlib.suppress(pa.ArrowException):
            gone.update(replaced(pq.read_schema(path)))
    for path in small:
        if path.name in gone:
            remove(path)
    return [path for path in small if path.name not in gone]


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    file = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(file)


def _called(name: str, rows: pa.Table) -> str:
    """The file name for these rows. Labels have no prediction ids, and so no span."""
    import pyarrow.compute as pc

    if "prediction_id" not in rows.column_names:
        return f"{name}.parquet"
    known = pc.min_max(rows["prediction_id"]).as_py()
    return f"{name}.{digits(known['min'])}-{digits(known['max'])}.parquet"


def _joined(parts: Sequence[bytes], dtype: str) -> np.ndarray:
    return np.frombuffer(b"".join(parts), dtype)


def _repeated(values: Sequence[str], rows: Sequence[int]) -> pa.Array:
    import pyarrow as pa

    return pa.array([value for value, count in zip(values, rows, strict=True) for _ in range(count)], pa.string())
