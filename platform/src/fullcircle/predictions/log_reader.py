"""Reads the prediction log back as windows for monitoring. See `log_files` for how it is read beside writers: of
several rows with one id only one is kept. See `lookup` for single predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Column, Project
from fullcircle.core.records.health import Window
from fullcircle.predictions import parquet_segments
from fullcircle.predictions.log_files import read_segment, read_wals, retry_read

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Task

KEPT = ("prediction_id", "row_id", "event_time", "logged_at", "model_version")


def window(project: Project, folder: Path, start: datetime, end: datetime) -> tuple[Window, pd.DataFrame]:
    """What was predicted for events in [start, end), with the labels known so far.

    Returns:
        The window, and a frame sorted by (event_time, row_id), one row for each row id (its latest prediction):
        prediction_id, row_id, event_time (datetime64[us, UTC]), model_version, the project's inputs in the
        convention of `core.row_tensors` (an image that the file does not have is all NaN), the numbers of the answers
        (float32, NaN where an earlier version had none of that name: `probability`), label: the
        encoded target, float64, NaN while unknown, or where a target is several numbers a list of them, None while
        unknown.
        Memory: that frame, plus one file of a day at a time.

    Raises:
        DataUnavailable: a segment of a needed day is damaged; names the file.
    """
    import pyarrow as pa

    columns, answers = project.inputs, project.target.answers.numbers
    kinds = _kinds(columns, answers)

    def collect() -> list[pa.Table]:
        return [_shaped(part, kinds) for part in _parts(folder, start, end, tuple(kinds))]

    parts = retry_read(collect)
    rows = pa.concat_tables(parts) if parts else _shaped(pa.table({}), kinds)
    frame: pd.DataFrame = rows.to_pandas()
    del rows, parts
    for column in columns:
        if column.kind == "image":
            frame[column.name] = _never_none(frame[column.name], column)
    frame = frame.sort_values(["logged_at", "prediction_id"], kind="stable").drop_duplicates("row_id", keep="last")
    frame = frame.sort_values(["event_time", "row_id"], kind="stable").drop(columns="logged_at").reset_index(drop=True)
    frame["label"] = _labels(folder / "labels", frame["row_id"], project.target)
    order = [
        "prediction_id",
        "row_id",
        "event_time",
        "model_version",
        *(c.name for c in columns),
        *answers,
        "label",
    ]
    seen = Window(
        project=project.name,
        start=start,
        end=end,
        rows=len(frame),
        labelled=int(frame["label"].notna().sum()),
        versions=tuple(sorted(frame["model_version"].unique(), key=_by_number)),
    )
    return seen, frame[order]


def logged_row_ids(folder: Path, start: datetime, end: datetime) -> set[str]:
    """The ids of the rows with events in [start, end) that were answered."""

    def collect() -> set[str]:
        parts = _parts(folder, start, end, ("row_id", "event_time"))
        return {row_id for part in parts for row_id in part["row_id"].to_pylist()}

    return retry_read(collect)


def _parts(folder: Path, start: datetime, end: datetime, wanted: Sequence[str]) -> Iterator[pa.Table]:
    """Rows with events in [start, end), a table for each file that has some."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pa.timestamp("us", tz="UTC")
    first, last = pa.scalar(start, times), pa.scalar(end, times)

    def sources() -> Iterator[pa.Table]:
        yield from [parquet_segments.table(*part) for part in read_wals(folder)]  # all of them before any segment
        for day in parquet_segments.day_folders(folder / "segments", start, end):
            for path in parquet_segments.files(day):
                yield read_segment(path, wanted)

    for rows in sources():
        event_time = rows["event_time"]
        inside = rows.filter(pc.and_(pc.greater_equal(event_time, first), pc.less(event_time, last)))
        if inside.num_rows:
            there = set(inside.column_names)
            yield inside.select([name for name in wanted if name in there])


def _kinds(columns: Sequence[Column], answers: Sequence[str]) -> dict[str, pa.DataType]:
    """What is read, and as what."""
    import pyarrow as pa

    times = pa.timestamp("us", tz="UTC")
    kinds = dict.fromkeys(KEPT, pa.string()) | {"event_time": times, "logged_at": times}
    return kinds | {column.name: _kind(column) for column in columns} | dict.fromkeys(answers, pa.float32())


def _shaped(rows: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """The same columns and types for every file, whatever the project's columns were when it was written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = {}
    there = set(rows.column_names)
    for name, kind in kinds.items():
        if name in there:
            try:
                values = rows[name].cast(kind)
                # Files merged over a change of columns hold nulls where the older rows had none of that name.
                arrays[name] = pc.fill_null(values, "") if kind == pa.string() else values
                continue
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
                pass  # it was a category then and is a number now, or an image of another size: not known
        missing = pa.scalar("" if kind == pa.string() else None, kind)
        arrays[name] = pa.chunked_array([pa.repeat(missing, rows.num_rows)])
    return pa.table(arrays)


def _kind(column: Column) -> pa.DataType:
    import pyarrow as pa

    if column.kind == "image":
        return pa.list_(pa.float32(), column.values)
    return pa.string() if column.is_text else pa.float32()


def _never_none(cells: pd.Series[Any], column: Column) -> pd.Series[Any]:
    """Cells without an image as images of NaN: a column's cells then have one form."""
    import numpy as np

    nothing = np.full(column.values, np.nan, "float32")
    return cells.map(lambda cell: nothing if cell is None else cell).astype(object)


def _labels(folder: Path, row_ids: pd.Series[str], task: Task) -> NDArray[Any]:
    """The last label of each of these rows; one file of labels in memory at a time."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pa.array(row_ids.to_numpy(), pa.string())

    def collect() -> list[pd.DataFrame]:
        found = []
        for path in parquet_segments.files(folder) if len(wanted) else ():
            with pq.ParquetFile(path) as file:
                rows = file.read()
            rows = rows.filter(pc.is_in(rows["row_id"], value_set=wanted))
            if rows.num_rows:
                found.append(rows.to_pandas())
        return found

    if not (found := retry_read(collect)):
        unknown = task.label_codec.recalled(np.empty(0, dtype=object))
        return np.full(len(row_ids), None, dtype=unknown.dtype)
    labels = pd.concat(found).sort_values(["arrived", "recorded"], kind="stable").drop_duplicates("row_id", keep="last")
    known = task.label_codec.recalled(labels["label"].to_numpy())
    position = pd.Index(labels["row_id"]).get_indexer(pd.Index(row_ids))
    shown = np.full(len(row_ids), None, dtype=known.dtype)
    shown[position >= 0] = known[position[position >= 0]]
    return shown


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), version) if version.isdigit() else (1 << 62, version)
