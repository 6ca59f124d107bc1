"""Counts predictions by model over the whole log, from Parquet footers where those tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.predictions import parquet_segments
from fullcircle.predictions.log_files import extremes, read_parquet, read_segment, read_wals, retry_read

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_COLUMNS = ("prediction_id", "event_time", "model_version", "model_digest")
_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class PredictionCounts:
    """What one model answered: how many predictions, for events from `first` to `last` (UTC, both inclusive)."""

    model_version: str
    model_digest: str
    predictions: int
    first: datetime
    last: datetime


def prediction_counts(folder: Path) -> tuple[PredictionCounts, ...]:
    """The answers of each (version, digest) in the log, by version. Each prediction id counts once.

    A file of one model is counted by its footer alone. Only where the ids of two files of a day overlap in time (two
    servers, or a merge that is going on) are their ids read, a day at a time.

    Raises:
        DataUnavailable: a file is damaged; names it.
    """
    found: dict[_Key, PredictionCounts] = {}
    for part in retry_read(lambda: list(_parts(folder))):
        key = (part.model_version, part.model_digest)
        found[key] = _both(found[key], part) if key in found else part
    return tuple(sorted(found.values(), key=lambda each: (len(each.model_version), each.model_version)))


def _parts(folder: Path) -> Iterator[PredictionCounts]:
    waiting = _by_day(parquet_segments.table(*part).select(_COLUMNS) for part in read_wals(folder))
    sealed_days = {path.name: path for path in (folder / "segments").glob("date=*")}
    for name in sorted({*waiting, *sealed_days}):
        tables = waiting.get(name, [])
        files = parquet_segments.files(sealed_days[name]) if name in sealed_days else []
        # Rows that were in a write-ahead file when we looked may be in a segment by now.
        alone, together = ([], files) if tables else _alone(files)
        for path in alone:
            yield from read_parquet(path, _by_footer) or _counted([read_segment(path, _COLUMNS)])
        if tables or together:
            yield from _counted([*tables, *(read_segment(path, _COLUMNS) for path in together)])


def _alone(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(files whose ids overlap with no other file's in time, the others)."""
    spans = [(parquet_segments.span(path) or ("", "~"), path) for path in files]
    alone: list[Path] = []
    together: list[Path] = []
    for (first, last), path in spans:
        others = (other for other, each in spans if each != path)
        overlaps = any(low <= last and first <= high for low, high in others)
        (together if overlaps else alone).append(path)
    return alone, together


def _by_footer(file: pq.ParquetFile) -> list[PredictionCounts] | None:
    """The answers in a file by its statistics; None where they do not tell."""
    found = []
    for group in range(file.metadata.num_row_groups):
        version, digest, times = (
            extremes(file, group, name) for name in ("model_version", "model_digest", "event_time")
        )
        if version is None or digest is None or times is None or version[0] != version[1] or digest[0] != digest[1]:
            return None
        first, last = (moment for moment in times if isinstance(moment, datetime))
        rows = file.metadata.row_group(group).num_rows
        found.append(_prediction_counts(str(version[0]), str(digest[0]), rows, first, last))
    return found


def _counted(tables: Sequence[pa.Table]) -> Iterator[PredictionCounts]:
    """The answers in these tables, each prediction id once."""
    import pyarrow as pa

    rows = pa.concat_tables(tables, promote_options="default")
    once = rows.group_by("prediction_id").aggregate([(name, "min") for name in _COLUMNS[1:]])
    grouped = once.group_by(["model_version_min", "model_digest_min"]).aggregate(
        [("prediction_id", "count"), ("event_time_min", "min"), ("event_time_min", "max")]
    )
    for row in grouped.to_pylist():
        yield _prediction_counts(
            row["model_version_min"],
            row["model_digest_min"],
            row["prediction_id_count"],
            row["event_time_min_min"],
            row["event_time_min_max"],
        )


def _by_day(tables: Iterable[pa.Table]) -> Mapping[str, list[pa.Table]]:
    found: dict[str, list[pa.Table]] = {}
    for table in tables:
        for day, rows in parquet_segments.by_day(table):
            found.setdefault(parquet_segments.day_folder(Path(), day).name, []).append(rows)
    return found


def _prediction_counts(version: str, digest: str, rows: int, first: datetime, last: datetime) -> PredictionCounts:
    first, last = (moment.astimezone(UTC) for moment in (first, last))
    return PredictionCounts(model_version=version, model_digest=digest, predictions=rows, first=first, last=last)


def _both(one: PredictionCounts, other: PredictionCounts) -> PredictionCounts:
    return PredictionCounts(
        model_version=one.model_version,
        model_digest=one.model_digest,
        predictions=one.predictions + other.predictions,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
    )
