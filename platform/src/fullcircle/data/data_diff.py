"""Diff of a data folder against a data version: in which files and rows they differ, for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.records.dataset import DataVersion
from fullcircle.data.dvc_pointers import md5_of
from fullcircle.data.parquet_reader import whole

if TYPE_CHECKING:
    import pandas as pd


def changes(version: DataVersion, folder: Path, original: Path | None) -> Iterator[tuple[str, str]]:
    """(file, sentence) of each partition that is missing, new or other than in the version, by name.

    Partitions behind the last one of the version are passed over: they would not be read.

    Args:
        original: folder with the version's own files; None: its rows cannot be had, only its digests.
    """
    known = dict(version.files)
    there = {path.name for path in folder.glob("*.parquet") if path.name <= max(known, default="")}
    for name in sorted(known.keys() | there):
        if name not in there:
            yield name, f"{name} is missing"
        elif name not in known:
            yield name, f"{name} is new"
        elif md5_of(folder / name) != known[name]:
            how = _rows_changed(original / name, folder / name) if original is not None else "other bytes"
            yield name, f"{name}: {how}"


def _rows_changed(then: Path, now: Path) -> str:
    try:
        before, after = whole(then), whole(now)
    except DataUnavailable as error:
        return f"it does not read ({error.what})"
    if list(before.columns) != list(after.columns):
        differ = sorted(set(before.columns) ^ set(after.columns)) or ["their order"]
        return f"other columns ({', '.join(map(str, differ))})"
    if len(before) != len(after):
        return f"{len(before):,} rows -> {len(after):,} rows"
    return _first_change(before, after)


def _first_change(before: pd.DataFrame, after: pd.DataFrame) -> str:
    # As objects: a column of integers with gaps answers neither yes nor no where a value is missing.
    before, after = before.astype(object), after.astype(object)
    same = (before == after) | (before.isna() & after.isna())
    rows = ~same.all(axis=1)
    if not rows.any():
        return "the same rows in other bytes"
    row = int(rows.to_numpy().argmax())
    column = str(same.columns[int((~same.iloc[row]).to_numpy().argmax())])
    one, two = before[column].iloc[row], after[column].iloc[row]
    count = int(rows.sum())
    first = f"row {row}, column {column!r}: {one} -> {two}"
    return f"{count:,} of {len(before):,} rows changed, the first is {first}"
