"""The one reader of Parquet rows, for a folder of partitions and for a single file, in two steps.

`read` gives the columns as the files have them: what the data contract looks at. `typed` then makes of them what
training, serving and monitoring compute with. No value is changed on the way without a sentence: see docs/adr/0095.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.plain_values import EXACT
from fullcircle.core.project import Project
from fullcircle.core.row_tensors import identities
from fullcircle.data.parquet_columns import cut, is_text, moments, series
from fullcircle.data.parquet_footers import unreadable
from fullcircle.data.partitions import Partition, aware

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """Rows as the files have them, for the data contract.

    Attributes:
        frame: the project's columns, target, time and row id, as far as the files have them; the index counts from 0.
        notes: a sentence for each thing that was left out or is not what a reader would expect.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]


def load(
    parts: Sequence[Partition],
    project: Project,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    naive_is_utc: bool = False,
) -> pd.DataFrame:
    """`read` and `typed` in one, for rows that keep the data contract or are about to be held against it."""
    return typed(read(parts, project, since=since, until=until, naive_is_utc=naive_is_utc).frame, project)


def read(
    parts: Sequence[Partition],
    project: Project,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    naive_is_utc: bool = False,
) -> Rows:
    """The rows of these files with `since` <= time < `until`, in the order of the files.

    Rows without a time, and all rows where the column of times holds none beyond doubt, stay: they are for the
    data contract to find. Columns that no file has stay out, likewise.

    Args:
        since, until: timezone-aware; None: no bound.
        naive_is_utc: take times without a zone for UTC, as earlier versions did; to repeat what they learned.

    Raises:
        DataUnavailable: no partition given, a file that does not read or changed meanwhile, or one without the time
            or row id column.
        UsageError: a bound has no timezone.
    """
    import pandas as pd

    bounds = tuple(aware(moment) if moment else None for moment in (since, until))
    if not parts:
        raise DataUnavailable(f"project {project.name!r}: no partition to load", hint="see 'partitions'")
    names, notes = wanted(project), []
    tables: list[Mapping[str, pa.ChunkedArray]] = []
    for part in parts:
        columns, rows = _columns(part, names, (project.time, project.row_id))
        times, said = moments(columns[project.time], naive_is_utc=naive_is_utc)
        notes += [f"{part.path.name}: column {project.time!r} {sentence}" for sentence in said]
        kept = cut(columns | {project.time: times}, project.time, *bounds)
        if left := rows - len(kept[project.time]):
            notes.append(
                f"{part.path.name}: {left:,} of {rows:,} rows lie outside of {_span(*bounds)} and are not read"
            )
        tables.append(kept)
    frame, lengths = {}, [len(table[project.time]) for table in tables]
    for name in names:
        chunks = [table.pop(name, None) for table in tables]  # type: ignore[attr-defined]  # freed one by one
        if any(chunk is not None for chunk in chunks):
            frame[name], said = series(chunks, lengths, [part.path.name for part in parts])
            notes += [f"column {name!r} {sentence}" for sentence in said]
    return Rows(frame=pd.DataFrame(frame), notes=tuple(notes))


def count(parts: Sequence[Partition], project: Project, until: datetime) -> int:
    """How many rows `read` would give. Of a file that was looked at and ends before `until`, its footer says."""
    rows = 0
    for part in parts:
        held = part.footer
        if held is not None and not held.untimed and (held.last is None or held.last < aware(until)):
            rows += held.rows
            continue
        columns, _ = _columns(part, (project.time,), (project.time,))
        times, _ = moments(columns[project.time])
        rows += len(cut({project.time: times}, project.time, None, aware(until))[project.time])
    return rows


def whole(path: Path) -> pd.DataFrame:
    """All columns of one file, for comparing files, every value as it is. Raises DataUnavailable where it is none."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise unreadable(f"{path}", error) from error
    found = [series([values], [table.num_rows], [path.name])[0] for values in table.columns]
    return pd.concat(found, axis=1, keys=table.column_names) if found else pd.DataFrame()


def single(path: Path) -> tuple[Partition, ...]:
    """One file of rows, whatever its name, as `read` takes it."""
    return (Partition("", path),)


def typed(frame: pd.DataFrame, project: Project) -> pd.DataFrame:
    """Rows as the platform computes with them, sorted by (time, row id); the index counts from 0.

    Time is `datetime64[us, UTC]`. Numbers with gaps are float64 with NaN. Ids of integers stay integers, exactly; where
    some are text, all are.

    Raises:
        DataUnavailable: the column of times holds something else, or a number is no number or cannot be one exactly.
            The data contract says which rows; call `typed` after it.
    """
    import pandas as pd

    made = frame.copy(deep=False)
    if not isinstance(made[project.time].dtype, pd.DatetimeTZDtype):
        what = f"project {project.name!r}: column {project.time!r} holds no times with a timezone"
        raise DataUnavailable(what, hint="make it a timestamp in UTC; 'fullcircle data check' says more")
    for column in project.columns:
        if column.kind == "number" and column.name in made:
            made[column.name] = _numbers(made[column.name], column.name)
    for name in project.target.columns if project.target.label_codec.has_numbers else ():
        if name in made:
            made[name] = _numbers(made[name], name)
    if made[project.row_id].dtype == object:
        ids = made[project.row_id].dropna()
        made[project.row_id] = pd.Series(identities(ids), index=ids.index, dtype=object).reindex(made.index)
    return made.sort_values([project.time, project.row_id], kind="stable", ignore_index=True)


def wanted(project: Project) -> tuple[str, ...]:
    """Names of all that the platform reads of a row: columns, target, time and row id."""
    return (*(column.name for column in project.columns), *project.target.columns, project.time, project.row_id)


def _columns(part: Partition, names: Sequence[str], needed: Sequence[str]) -> tuple[dict[str, pa.ChunkedArray], int]:
    """The columns of a file that are asked for, and how many rows it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part.path) as file:
            has, rows = file.schema_arrow, file.metadata.num_rows
        asked = [name for name in names if name in has.names]
        # Texts as a list of the different ones: a long category then costs its length once, not once a row.
        texts = [name for name in asked if is_text(has.field(has.get_all_field_indices(name)[0]).type)]
        with pq.ParquetFile(part.path, read_dictionary=texts) as file:
            table = file.read(columns=asked)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(f"{part}", error) from error
    if doubled := [name for name in asked if has.names.count(name) > 1]:
        raise DataUnavailable(f"{part} has the column {doubled[0]!r} twice", hint="name each once")
    if missing := [name for name in needed if name not in asked]:
        there = ", ".join(has.names[:20])
        raise DataUnavailable(f"{part} has no column {missing[0]!r}", hint=f"it has {there}")
    # By their own account, when they were looked at and now: nothing is lost in between without a word.
    counts = {rows, table.num_rows, part.footer.rows if part.footer else rows}
    if len(counts) > 1:
        what = f"{part} had {max(counts):,} rows and has {min(counts):,}"
        raise DataUnavailable(what, hint="it changed while it was read: try again")
    return {name: table[name] for name in asked}, rows


def _numbers(values: pd.Series, name: str) -> pd.Series:
    """Numbers as numpy has them; a column with gaps as float64."""
    import numpy as np
    import pandas as pd

    if isinstance(values.dtype, np.dtype) and values.dtype != object:
        return values
    try:
        if pd.api.types.is_integer_dtype(values.dtype) and bool((values.abs() > EXACT).any()):
            raise DataUnavailable(f"column {name!r} has integers beyond 2^53, which no number holds exactly")
        return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
    except (TypeError, ValueError) as error:
        raise DataUnavailable(f"column {name!r} does not hold numbers alone ({error})") from error


def _span(since: datetime | None, until: datetime | None) -> str:
    ends = [f"{word} {moment:%Y-%m-%d %H:%M} UTC" for word, moment in (("from", since), ("before", until)) if moment]
    return " and ".join(ends)
