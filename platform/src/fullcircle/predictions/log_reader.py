"""Reads the prediction log back as windows for monitoring. See `log_files` for how it is read beside writers: of
several rows with one id only one is kept. See `lookup` for single predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Column, Project
from fullcircle.core.records.health import Window
from fullcircle.predictions.fingerprints import labelled
from fullcircle.predictions.fingerprints.contract import Contract, contract_of
from fullcircle.predictions.ids import microseconds
from fullcircle.predictions.label_files import LabelFiles, read_type
from fullcircle.predictions.log_files import WindowFiles, extremes, read_parquet, retry_read, window_files
from fullcircle.predictions.row_shape import kinds_of, latest, shaped, within

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fullcircle.core.tasks.base import Task

FEW_COLUMNS = 64


def window(project: Project, folder: Path, start: datetime, end: datetime) -> tuple[Window, pd.DataFrame]:
    """What was predicted for events in [start, end), with the labels known so far.

    Returns:
        The window, and a frame sorted by (event_time, row_id), one row for each row id (its latest prediction):
        prediction_id, row_id, event_time (datetime64[us, UTC]), model_version, the project's inputs in the
        convention of `core.row_tensors` (an image that the file does not have is all NaN), the numbers of the answers
        (float32, NaN where an earlier version had none of that name: `probability`), label: the
        encoded target, float64, NaN while unknown, or where a target is several numbers a list of them, None while
        unknown.
        Memory: that frame twice, for a moment.

    Raises:
        DataUnavailable: a segment of a needed day is damaged; names the file.
    """
    columns, answers = project.inputs, project.target.answers.numbers
    contract, files = contract_of(project), LabelFiles(folder / "labels")
    span = (microseconds(start), microseconds(end))
    kinds = kinds_of(columns, answers)

    def collect() -> list[pa.Table]:
        found = window_files(folder, start, end)
        labelled.bring_up_to_date(found.segments, contract, project.target, files)
        return [
            shaped(part, kinds).append_column("label", part["label"])
            for part in _with_labels(found, contract, project.target, files, span, tuple(kinds))
            if part.num_rows
        ]

    frame = frame_of(project, _latest_of(retry_read(collect), kinds, project.target), columns)
    return window_of(project, frame, start, end), frame


def _latest_of(parts: Sequence[pa.Table], kinds: Mapping[str, pa.DataType], task: Task) -> pa.Table:
    import pyarrow as pa

    return latest(pa.concat_tables(parts)) if parts else no_rows(kinds, task)


def window_of(project: Project, frame: pd.DataFrame, start: datetime, end: datetime) -> Window:
    """The window whose rows these are."""
    return Window(
        project=project.name,
        start=start,
        end=end,
        rows=len(frame),
        labelled=int(frame["label"].notna().sum()),
        versions=tuple(sorted(frame["model_version"].unique(), key=by_number)),
    )


def frame_of(project: Project, rows: pa.Table, columns: Sequence[Column]) -> pd.DataFrame:
    """Shaped rows with their labels as the frame that `window` returns, with these inputs and those of the log's own
    columns that there are. Whoever keeps no other reference to `rows` has them in memory once, and not twice."""
    rows = _in_order(rows)
    rows = rows.drop_columns("logged_at") if "logged_at" in rows.column_names else rows
    label = rows["label"].to_pandas().to_numpy()
    # Column by column, each let go as soon as it is in the frame: a window is then in memory once.
    few = rows.num_columns <= FEW_COLUMNS  # pandas is slow where each of very many columns is a block of its own
    frame: pd.DataFrame = rows.drop_columns("label").to_pandas(split_blocks=few, self_destruct=few)
    del rows
    for column in columns:
        if column.kind == "image":
            frame[column.name] = _never_none(frame[column.name], column)
    frame["label"] = project.target.label_codec.recalled(label)
    own = [name for name in ("prediction_id", "row_id", "event_time", "model_version") if name in frame]
    return frame[[*own, *(c.name for c in columns), *project.target.answers.numbers, "label"]]


def logged_row_ids(folder: Path, start: datetime, end: datetime) -> set[str]:
    """The ids of the rows with events in [start, end) that were answered."""

    def collect() -> set[str]:
        parts = _parts(folder, start, end, ("row_id", "event_time"))
        return {row_id for part in parts for row_id in part["row_id"].to_pylist()}

    return retry_read(collect)


def _parts(folder: Path, start: datetime, end: datetime, wanted: Sequence[str]) -> Iterator[pa.Table]:
    """Rows with events in [start, end), a table for each file that has some."""
    span = (microseconds(start), microseconds(end))
    found = window_files(folder, start, end)
    for rows in found.unsealed:
        yield within(rows, span).select([name for name in wanted if name in rows.column_names])
    for path in found.segments:
        yield within(read_parquet(path, lambda file: read_within(file, wanted, span)[0]), span)


def _with_labels(
    found: WindowFiles, contract: Contract, task: Task, files: LabelFiles, span: tuple[int, int], wanted: Sequence[str]
) -> Iterator[pa.Table]:
    """As `_parts`, with the label of each row as the label log keeps it, null while unknown."""
    for rows in found.unsealed:
        inside = within(rows, span)
        labels = files.of(inside["row_id"].combine_chunks(), read_type(task))
        yield inside.append_column("label", labels["label"])
    for path in found.segments:
        rows, places = read_parquet(path, lambda file: read_within(file, wanted, span))
        if rows.num_rows:
            labels = labelled.cells(path, places, rows["row_id"], contract, task, files)
            yield within(rows.append_column("label", labels), span)


def read_within(
    file: pq.ParquetFile, wanted: Sequence[str], span: tuple[int, int]
) -> tuple[pa.Table, tuple[slice, ...]]:
    """(the row groups of a segment that may hold events in the span, where their rows are)."""
    groups, places, at = [], [], 0
    for group in range(file.metadata.num_row_groups):
        rows, times = file.metadata.row_group(group).num_rows, extremes(file, group, "event_time")
        first, last = (microseconds(each) if isinstance(each, datetime) else None for each in times or (None, None))
        if first is None or last is None or (first < span[1] and last >= span[0]):
            groups.append(group)
            places.append(slice(at, at + rows))
        at += rows
    there = set(file.schema_arrow.names)
    return file.read_row_groups(groups, [name for name in wanted if name in there]), tuple(places)


def no_rows(kinds: Mapping[str, pa.DataType], task: Task) -> pa.Table:
    """A table of these columns and `label` without a row."""
    import pyarrow as pa

    return shaped(pa.table({}), kinds).append_column("label", pa.array([], read_type(task)))


def _in_order(rows: pa.Table) -> pa.Table:
    """By event time, then by row id."""
    import numpy as np
    import pyarrow as pa

    times = rows["event_time"].cast(pa.int64()).to_numpy()
    order = np.argsort(times, kind="stable")
    if (np.diff(times[order]) == 0).any():  # text is put in order where it must be
        return rows.sort_by([("event_time", "ascending"), ("row_id", "ascending")])
    return rows if (order[1:] > order[:-1]).all() else rows.take(pa.array(order))


def _never_none(cells: pd.Series[Any], column: Column) -> pd.Series[Any]:
    """Cells without an image as images of NaN: a column's cells then have one form."""
    import numpy as np

    nothing = np.full(column.values, np.nan, "float32")
    return cells.map(lambda cell: nothing if cell is None else cell).astype(object)


def by_number(version: str) -> tuple[int, str]:
    """What model versions are sorted by: 10 comes after 9."""
    return (int(version), version) if version.isdigit() else (1 << 62, version)
