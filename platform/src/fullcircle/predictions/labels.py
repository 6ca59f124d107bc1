"""Log of ground-truth labels that arrive later: by row id, in Parquet files that appear whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.core.plain_values import text_fault
from fullcircle.core.row_tensors import identity
from fullcircle.core.tasks import Task
from fullcircle.core.tasks.labels.cells import cells_of
from fullcircle.core.tasks.labels.codec import LabelCodec
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.ids import PredictionIds, microseconds
from fullcircle.predictions.label_files import stored_type

_names = PredictionIds()


class LabelLog:
    """Appends labels. Guarantees: when `append` returned they are on disk, all of them or none; of several labels
    for one row the last wins (by `arrived`, then by the order of appending). Labels may come before their row.
    Several processes may share a folder. Nothing is written before the first append.

    Args:
        task: whose targets they are.
    """

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder, self._task = folder, task
        self._log_was_there = folder.parent.is_dir()

    def append(self, row_ids: Sequence[str | int], labels: Sequence[Any], *, arrived: datetime | None = None) -> int:
        """Write labels down; how many.

        Args:
            row_ids: the row's own id, text or a whole number, or its prediction id where the caller named none.
            labels: targets as the task encodes them: 0 or 1, a class's code, a number, or 0 or 1 for each label.
            arrived: when the truth came, timezone-aware; now by default.

        Raises:
            UsageError: unequal lengths, a label that is no target of the task, a row id that is empty or none at all,
                a time without a zone.
            HomeUnwritable: the folder cannot be written; none of these labels was.
        """
        import pyarrow as pa

        if self._log_was_there:
            wal.require_there(self.folder.parent)
        arrived = arrived or datetime.now(UTC)
        codec = self._task.label_codec
        named = _checked(row_ids, labels, arrived, codec)
        if not len(row_ids):
            return 0
        rows = pa.table(
            {
                "row_id": pa.array(named, pa.string()),
                "label": pa.array(codec.stored(labels), stored_type(self._task)),
                "arrived": pa.array([microseconds(arrived)] * len(row_ids)).cast(pa.timestamp("us", tz="UTC")),
                # Two labels may arrive in one microsecond; this says which was appended later.
                "recorded": pa.array(time.time_ns() + np.arange(len(row_ids))),
            }
        )
        try:
            parquet_segments.write_table(rows.sort_by("row_id"), self.folder / f"{_names.take(1)[0]}.parquet")
            parquet_segments.merge(self.folder, sorted_by="row_id")
        except OSError as error:
            raise wal.unwritable(self.folder, error) from error
        return len(row_ids)


def _checked(row_ids: Sequence[str | int], labels: Sequence[Any], arrived: datetime, codec: LabelCodec) -> list[str]:
    """The ids in their one form, by which they find their predictions."""
    if len(row_ids) != len(labels):
        raise UsageError(f"{len(row_ids)} row ids but {len(labels)} labels")
    if arrived.tzinfo is None:
        raise UsageError(f"arrived must have a time zone, got {arrived.isoformat()}")
    named = []
    for row_id, label, fits in zip(row_ids, labels, codec.are_targets(cells_of(labels)), strict=True):
        text = identity(row_id)
        if text is None:
            raise UsageError(f"a row id must be text or a whole number, got {row_id!r:.60}")
        if not text:
            raise UsageError("a label without a row id", hint="send the row_id or the prediction id that it is for")
        if fault := text_fault(text):
            raise UsageError(f"row id {text!r:.60} {fault}")
        if not fits:
            raise UsageError(f"the label of row {text!r} must be {codec.target_sentence}, got {label!r:.80}")
        named.append(text)
    return named
