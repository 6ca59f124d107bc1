"""Finds the labels of rows in the label log's files: each label is hashed once, and looked up by it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.tasks.base import Task
from fullcircle.predictions import parquet_segments
from fullcircle.predictions.log_files import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

LABEL = ("label", "arrived", "recorded")
"""What is kept of a label beside its row id: of several labels of a row the last to arrive counts, then the last that
was recorded."""
AT_ONCE = 2_000_000
"""Labels that are held in memory at once, about 150 MB."""
_NEVER = np.iinfo(np.int64).min


def _types() -> Mapping[str, Callable[[], pa.DataType]]:
    """What a task keeps of a target, by name -> its type in Parquet."""
    import pyarrow as pa

    return MappingProxyType(
        {
            "int8": pa.int8,
            "float64": pa.float64,
            "text": pa.string,
            "truths": lambda: pa.map_(pa.string(), pa.int8()),
        }
    )


def stored_type(task: Task) -> pa.DataType:
    """The type in Parquet of what the label log keeps of a target."""
    return _types()[task.label_codec.stored_as]()


def read_type(task: Task) -> pa.DataType:
    """The type in which targets are read: numbers all in one, since an earlier version may have kept whole ones."""
    import pyarrow as pa

    kind = stored_type(task)
    return pa.float64() if pa.types.is_integer(kind) else kind


class LabelFiles:
    """The files of a label log as they are now.

    Raises FileNotFoundError, when it reads, if a file was merged into another one meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {path.name: path for path in parquet_segments.files(folder)}
        self._replaced: dict[str, tuple[str, ...]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files."""
        return tuple(self._paths)

    def new(self, looked: Collection[str]) -> tuple[str, ...]:
        """The names of those whose labels are in none of the files that were looked through."""
        there = set(looked)
        return tuple(name for name in self._paths if name not in there and not self._is_of(name, there))

    def parts(self, names: Sequence[str], among: pa.Array | None = None) -> Iterator[tuple[tuple[str, ...], Labels]]:
        """(names, labels) of these files, so many of them at a time as may be held in memory.

        Args:
            among: row ids, of which alone labels are wanted: to put all labels in order takes ten times as long.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        called: list[str] = []
        held: list[pa.Table] = []
        for name in names:
            rows = read_parquet(self._paths[name], lambda file: file.read(["row_id", *LABEL]))
            rows = rows if among is None else rows.filter(pc.is_in(rows["row_id"], value_set=among))
            kinds = {part.schema.field("label").type for part in held} | {rows.schema.field("label").type}
            if held and (len(kinds) > 1 or sum(part.num_rows for part in held) + rows.num_rows > AT_ONCE):
                yield tuple(called), Labels(pa.concat_tables(held))
                called, held = [], []
            called.append(name)
            held.append(rows)
        if held:
            yield tuple(called), Labels(pa.concat_tables(held))

    def of(self, row_ids: pa.Array, kind: pa.DataType) -> pa.Table:
        """label, arrived and recorded of each of these rows, null where there is none; of several labels the last."""
        found = no_labels(len(row_ids), kind)
        if not self._paths or not len(row_ids):
            return found
        hashes = hashed(row_ids)
        for _, labels in self.parts(self.names, among=row_ids):
            found = labels.over(found, row_ids, hashes)
        return found

    def _is_of(self, name: str, looked: set[str]) -> bool:
        """Whether it was merged of files that were looked through."""
        if name not in self._replaced:
            self._replaced[name] = read_parquet(
                self._paths[name], lambda file: parquet_segments.replaced(file.schema_arrow)
            )
        merged = self._replaced[name]
        return bool(merged) and looked.issuperset(merged)


class Labels:
    """Labels in the order of the hashes of their row ids; of one row the last to arrive comes last.

    Args:
        rows: row_id, label, arrived, recorded.
    """

    def __init__(self, rows: pa.Table) -> None:
        import pyarrow as pa

        hashes = hashed(rows["row_id"].combine_chunks())
        order = np.lexsort((_ints(rows["recorded"]), _ints(rows["arrived"]), hashes))
        self._rows, self._hashes = rows.take(pa.array(order)), hashes[order]

    def over(self, before: pa.Table, row_ids: pa.Array, hashes: NDArray[np.uint64]) -> pa.Table:
        """label, arrived and recorded of each of these rows, where they had those of `before`.

        Args:
            hashes: of the row ids, `hashed`.

        Returns `before` itself where none of them has a label here.
        """
        import pyarrow as pa

        if not self._rows.num_rows:
            return before
        hit, places = self._places(row_ids, hashes)
        if not hit.any():
            return before
        labels = self._rows.take(pa.array(places))
        new, old = ([_ints(each[name]) for name in LABEL[1:]] for each in (labels, before))
        old = [times[hit] for times in old]
        later = (new[0] > old[0]) | ((new[0] == old[0]) & (new[1] > old[1])) | (old[0] == _NEVER)
        chosen = np.arange(before.num_rows)
        chosen[np.flatnonzero(hit)[later]] = before.num_rows + np.flatnonzero(later)
        kind = before.schema.field("label").type
        shown = labels.select(list(LABEL)).set_column(0, "label", _as(labels["label"], kind)).cast(before.schema)
        return pa.concat_tables([before, shown]).take(pa.array(chosen))

    def _places(self, row_ids: pa.Array, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(which of the rows have a label here, where the last one of each of these is)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        last = np.searchsorted(self._hashes, hashes, side="right") - 1
        hit = (last >= 0) & (self._hashes[last] == hashes)
        found = self._rows["row_id"].take(pa.array(last[hit]))
        if pc.all(pc.equal(found, row_ids.filter(pa.array(hit)))).as_py() is not False:
            return hit, last[hit]
        # Two ids have one hash, which happens once in a million logs of this size. Turned round, the last comes first,
        # which is the one that `index_in` finds.
        times = [_ints(self._rows[name]) for name in LABEL[1:]]
        order = np.lexsort((times[1], times[0]))[::-1]
        at = pc.index_in(row_ids, value_set=self._rows["row_id"].take(pa.array(order)).combine_chunks())
        hit = at.is_valid().to_numpy(zero_copy_only=False)
        return hit, order[at.drop_null().to_numpy()]


def hashed(texts: pa.Array) -> NDArray[np.uint64]:
    """A hash of each text, (rows,); equal texts have equal ones."""
    import pandas as pd

    return np.asarray(pd.util.hash_array(texts.to_numpy(zero_copy_only=False), categorize=False), dtype=np.uint64)


def no_labels(rows: int, kind: pa.DataType) -> pa.Table:
    """label, arrived and recorded of so many rows without a label."""
    import pyarrow as pa

    times = pa.timestamp("us", tz="UTC")
    return pa.table(
        {"label": pa.nulls(rows, kind), "arrived": pa.nulls(rows, times), "recorded": pa.nulls(rows, pa.int64())}
    )


def _as(labels: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Labels as the task is now; null where another version of the project kept what this one cannot know."""
    import pyarrow as pa

    if labels.type == kind:
        return labels
    if pa.types.is_float64(kind) and pa.types.is_integer(labels.type):
        return labels.cast(kind)
    return pa.chunked_array([pa.nulls(len(labels), kind)])


def _ints(cells: pa.ChunkedArray) -> NDArray[np.int64]:
    import pyarrow as pa

    return np.asarray(cells.cast(pa.int64()).fill_null(_NEVER).to_numpy(), dtype=np.int64)
