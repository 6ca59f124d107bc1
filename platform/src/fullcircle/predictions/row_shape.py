"""Rows of the log in one shape, whatever the project's columns were when they were logged; and of several answers to
one row the one that counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Column

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

KEPT = ("prediction_id", "row_id", "event_time", "logged_at", "model_version")
"""The log's own columns that a window is made of."""


def kinds_of(columns: Sequence[Column], answers: Iterable[str]) -> dict[str, pa.DataType]:
    """What is read, and as what: the log's own columns, the inputs, the numbers of the answers."""
    import pyarrow as pa

    times = pa.timestamp("us", tz="UTC")
    kinds = dict.fromkeys(KEPT, pa.string()) | {"event_time": times, "logged_at": times}
    return kinds | {column.name: _kind(column) for column in columns} | dict.fromkeys(answers, pa.float32())


def shaped(rows: pa.Table, kinds: Mapping[str, pa.DataType]) -> pa.Table:
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


def within(rows: pa.Table, span: tuple[int, int]) -> pa.Table:
    """The rows whose events are in [first, last), microseconds since 1970."""
    import pyarrow as pa

    times = rows["event_time"].cast(pa.int64()).to_numpy()
    inside = (times >= span[0]) & (times < span[1])
    return rows if inside.all() else rows.filter(pa.array(inside))


def latest(rows: pa.Table) -> pa.Table:
    """One row for each row id, its latest answer, in the order in which they were."""
    import pyarrow as pa

    kept = latest_rows(rows)
    return rows if kept.all() else rows.filter(pa.array(kept))


def latest_rows(rows: pa.Table) -> NDArray[np.bool_]:
    """Which rows are the latest answer of their row id by (logged_at, prediction_id), bool (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = np.ones(rows.num_rows, dtype=bool)
    codes = pc.dictionary_encode(rows["row_id"].combine_chunks()) if rows.num_rows else None
    if codes is None or len(codes.dictionary) == rows.num_rows:
        return kept
    numbers = codes.indices.to_numpy()
    # Few rows are answered twice: only these are put in order, and ids are text.
    often = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
    twice = rows.select(["logged_at", "prediction_id"]).take(pa.array(often))
    twice = twice.append_column("at", pa.array(often)).append_column("code", pa.array(numbers[often]))
    keys = [("code", "ascending"), ("logged_at", "ascending"), ("prediction_id", "ascending")]
    ordered = twice.sort_by(keys)
    code = ordered["code"].to_numpy()
    kept[ordered["at"].to_numpy()[:-1][code[:-1] == code[1:]]] = False
    return kept


def _kind(column: Column) -> pa.DataType:
    import pyarrow as pa

    if column.kind == "image":
        return pa.list_(pa.float32(), column.values)
    return pa.string() if column.is_text else pa.float32()
