"""The truth as it arrives: labels by row id, in Parquet files that appear whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.predictions import journal, segments
from fullcircle.predictions.identity import PredictionIds, microseconds

_names = PredictionIds()


class LabelLog:
    """Appends labels. Guarantees: when `append` returned they are on disk, all of them or none; of several labels
    for one row the last wins (by `arrived`, then by the order of appending). Labels may come before their row.
    Several processes may share a folder. Nothing is written before the first append."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, row_ids: Sequence[str], labels: Sequence[int], *, arrived: datetime | None = None) -> int:
        """Write labels down; how many.

        Args:
            row_ids: the row's own id, or its prediction id where the caller named none.
            labels: 0 or 1.
            arrived: when the truth came, timezone-aware; now by default.

        Raises:
            UsageError: unequal lengths, a label that is not 0 or 1, an empty row id, a time without a zone.
            HomeUnwritable: the folder cannot be written; none of these labels was.
        """
        import pyarrow as pa

        arrived = arrived or datetime.now(UTC)
        _check(row_ids, labels, arrived)
        if not len(row_ids):
            return 0
        rows = pa.table(
            {
                "row_id": pa.array(list(row_ids), pa.string()),
                "label": pa.array(np.asarray(labels, "int8")),
                "arrived": pa.array([microseconds(arrived)] * len(row_ids)).cast(pa.timestamp("us", tz="UTC")),
                # Two labels may arrive in one microsecond; this says which was appended later.
                "recorded": pa.array(time.time_ns() + np.arange(len(row_ids))),
            }
        )
        try:
            segments.write_table(rows.sort_by("row_id"), self.folder / f"{_names.take(1)[0]}.parquet")
            segments.merge(self.folder, sorted_by="row_id")
        except OSError as error:
            raise journal.unwritable(self.folder, error) from error
        return len(row_ids)


def _check(row_ids: Sequence[str], labels: Sequence[int], arrived: datetime) -> None:
    if len(row_ids) != len(labels):
        raise UsageError(f"{len(row_ids)} row ids but {len(labels)} labels")
    if arrived.tzinfo is None:
        raise UsageError(f"arrived must have a time zone, got {arrived.isoformat()}")
    for row_id, label in zip(row_ids, labels, strict=True):
        if not row_id:
            raise UsageError("a label without a row id", hint="send the row_id or the prediction id that it is for")
        if label not in (0, 1):
            raise UsageError(f"the label of row {row_id!r} must be 0 or 1, got {label!r}")
