"""Reads a bounded sample of a large window's rows, where a figure needs rows and fingerprints cannot give it."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Column, Project
from fullcircle.predictions.fingerprints import labelled, segment_file
from fullcircle.predictions.fingerprints.contract import Contract, contract_of
from fullcircle.predictions.ids import microseconds
from fullcircle.predictions.label_files import LabelFiles, read_type
from fullcircle.predictions.log_files import WindowFiles, read_parquet, retry_read, window_files
from fullcircle.predictions.log_reader import frame_of, no_rows, read_within
from fullcircle.predictions.row_shape import KEPT, kinds_of, latest_rows, shaped, within

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_CHEAP = ("row_id", "event_time", "model_version")
"""Of the log's own columns those that a sample has; the others are long, and say only which of two answers is later."""


def window_sample(
    project: Project,
    folder: Path,
    start: datetime,
    end: datetime,
    *,
    share: float,
    columns: Sequence[Column] | None = None,
    labelled_only: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """About so large a share of what was predicted for events in [start, end), each row as likely as any other.

    The same segments, share and seed give the same rows. As in fingerprints, a row id counts once in each segment, by
    its latest answer there.

    Args:
        share: of the rows, or of the labelled ones; 1 or more: all.
        columns: the inputs that are read; None: all of the project.
        labelled_only: leave out rows whose label is not known.

    Returns:
        As `log_reader.window`, with these inputs and without prediction_id. Memory: the sample, and one segment.

    Raises:
        DataUnavailable: a segment is damaged; names it.
    """
    import pyarrow as pa

    inputs = project.inputs if columns is None else tuple(columns)
    contract, span = contract_of(project), (microseconds(start), microseconds(end))
    kinds = {name: kind for name, kind in _kinds(project, inputs).items() if name not in KEPT or name in _CHEAP}

    def collect() -> list[pa.Table]:
        found, files = window_files(folder, start, end), LabelFiles(folder / "labels")
        labelled.bring_up_to_date(found.segments, contract, project.target, files)
        parts = []
        for name, rows in _parts(found, project, contract, files, span, tuple(kinds)):
            chosen = np.random.default_rng([seed, zlib.crc32(name.encode())]).random(rows.num_rows) < share
            if labelled_only:
                chosen &= rows["label"].is_valid().to_numpy(zero_copy_only=False)
            kept = rows.filter(pa.array(chosen))
            parts.append(shaped(kept, kinds).append_column("label", kept["label"]))
        return parts

    parts = [part for part in retry_read(collect) if part.num_rows]
    return frame_of(project, pa.concat_tables(parts) if parts else no_rows(kinds, project.target), inputs)


def _kinds(project: Project, columns: Sequence[Column]) -> dict[str, pa.DataType]:
    return kinds_of(columns, project.target.answers.numbers)


def _parts(
    found: WindowFiles,
    project: Project,
    contract: Contract,
    files: LabelFiles,
    span: tuple[int, int],
    wanted: tuple[str, ...],
) -> Iterator[tuple[str, pa.Table]]:
    """(name of a part of the log, its rows that count and are in the span, with their labels)."""
    import pyarrow as pa

    for index, rows in enumerate(found.unsealed):
        inside = within(rows, span)
        inside = inside.filter(pa.array(latest_rows(inside)))
        labels = files.of(inside["row_id"].combine_chunks(), read_type(project.target))
        yield f"unsealed {index}", inside.append_column("label", labels["label"])
    for path in found.segments:
        twice = segment_file.has_repeats(path, contract)
        read = wanted if not twice else tuple(dict.fromkeys((*wanted, *KEPT)))
        rows, places = read_parquet(path, functools.partial(read_within, wanted=read, span=span))
        if rows.num_rows:
            labels = labelled.cells(path, places, rows["row_id"], contract, project.target, files)
            rows = rows.append_column("label", labels)
            rows = rows.filter(pa.array(latest_rows(rows))) if twice else rows
            # With its day: what one write-ahead file held of several days has one name in each of them.
            yield f"{path.parent.name}/{path.name}", within(rows, span)
