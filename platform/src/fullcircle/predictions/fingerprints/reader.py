"""Answers what a window of the log was like from fingerprints, reading rows only where none answer for them.

Rows are read of segments without a fingerprint (it is written then), of segments that the window cuts through, and of
what is not sealed yet. See `log_files` for how the log is read beside its writers.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.predictions import parquet_segments
from fullcircle.predictions.fingerprints import labelled, segment_file
from fullcircle.predictions.fingerprints.build import fingerprints_of
from fullcircle.predictions.fingerprints.contract import Contract, contract_of
from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint
from fullcircle.predictions.ids import microseconds, moment_of
from fullcircle.predictions.label_files import LabelFiles, read_type
from fullcircle.predictions.log_files import WindowFiles, read_segment, retry_read, window_files
from fullcircle.predictions.row_shape import within

if TYPE_CHECKING:
    import pyarrow as pa

Versions = Mapping[str, LogFingerprint]
"""Model version -> fingerprint."""


@dataclass(frozen=True, kw_only=True)
class WindowPrint:
    """What a window was like.

    Attributes:
        days: day of the events (UTC) -> model version -> fingerprint; days without rows are left out.
        made: segments whose fingerprint was missing, or of something else, and was made.
        cut: segments of which rows were read, because the window cuts through them.
        unsealed: rows that are in no segment yet.
    """

    days: Mapping[date, Versions]
    made: int = 0
    cut: int = 0
    unsealed: int = 0

    @functools.cached_property
    def versions(self) -> Versions:
        """Model version -> fingerprint of the whole window."""
        return _summed(day.items() for day in self.days.values())

    @property
    def total(self) -> LogFingerprint | None:
        """Of all versions; None where the window has no rows."""
        every = list(self.versions.values())
        return functools.reduce(operator.add, every) if every else None


def fingerprints(project: Project, folder: Path, start: datetime, end: datetime) -> WindowPrint:
    """What was predicted for events in [start, end), by day and model version, with the labels known so far.

    A row id counts once in each segment. One that is in several (a request that was sent again much later) counts in
    each; `LogFingerprint.row_ids.repeats` says how many do. Counts are exact otherwise; quantiles and the counts of
    more than 768 categories have the errors that they state.

    Args:
        folder: of the prediction log.

    Raises:
        DataUnavailable: a segment without fingerprint is damaged; names it.
    """
    contract, span = contract_of(project), (microseconds(start), microseconds(end))
    return retry_read(lambda: _window(project, contract, window_files(folder, start, end), folder / "labels", span))


def _window(
    project: Project, contract: Contract, found: WindowFiles, labels: Path, span: tuple[int, int]
) -> WindowPrint:
    files, made, cut = LabelFiles(labels), 0, 0
    labelled.bring_up_to_date(found.segments, contract, project.target, files)
    parts: list[tuple[date, Versions]] = []
    for segment in found.segments:
        known = segment_file.read(segment, contract)
        if known is None:
            known = segment_file.make(segment, read_segment(segment), contract)
            made += 1
            with contextlib.suppress(OSError):  # a home that cannot be written is read all the same
                segment_file.write(segment, known)
        inside = [fp for fp in known.versions.values() if span[0] <= fp.first_event and fp.last_event < span[1]]
        if len(inside) == len(known.versions):
            said = labelled.labelled(segment, contract, project.target, files)
            versions = {name: labelled.with_labels(fp, said.get(name)) for name, fp in known.versions.items()}
        elif any(fp.last_event >= span[0] and fp.first_event < span[1] for fp in known.versions.values()):
            versions, cut = _of_cut(segment, project, contract, files, span), cut + 1
        else:
            continue
        parts.append((parquet_segments.day_of(segment), versions))
    waiting = [within(rows, span) for rows in found.unsealed]
    for rows in waiting:
        parts += _of_unsealed(rows, project, contract, files)
    return WindowPrint(
        days={day: _summed(part.items() for at, part in parts if at == day) for day in sorted({at for at, _ in parts})},
        made=made,
        cut=cut,
        unsealed=sum(rows.num_rows for rows in waiting),
    )


def _of_cut(
    segment: Path, project: Project, contract: Contract, files: LabelFiles, span: tuple[int, int]
) -> dict[str, LogFingerprint]:
    rows = read_segment(segment, tuple(contract.kinds))
    everywhere = (slice(0, rows.num_rows),)
    labels = labelled.cells(segment, everywhere, rows["row_id"], contract, project.target, files)
    return _of_rows(within(rows.append_column("label", labels), span), project, contract)


def _of_unsealed(
    rows: pa.Table, project: Project, contract: Contract, files: LabelFiles
) -> Iterator[tuple[date, Versions]]:
    labels = files.of(rows["row_id"].combine_chunks(), read_type(project.target))
    for day, part in parquet_segments.by_day(rows.append_column("label", labels["label"])):
        yield day, _of_rows(part, project, contract)


def _of_rows(rows: pa.Table, project: Project, contract: Contract) -> dict[str, LogFingerprint]:
    said = labelled.summed_up(rows, rows["label"], contract, project.target)
    found = fingerprints_of(rows, contract)
    return {name: labelled.with_labels(fingerprint, said.get(name)) for name, fingerprint in found.items()}


def _summed(parts: Iterable[Iterable[tuple[str, LogFingerprint]]]) -> dict[str, LogFingerprint]:
    found: dict[str, LogFingerprint] = {}
    for part in parts:
        for version, fingerprint in part:
            found[version] = found[version] + fingerprint if version in found else fingerprint
    return found


def covered(found: WindowPrint) -> tuple[datetime, datetime] | None:
    """The first and the last event that were seen; None without rows."""
    if (total := found.total) is None:
        return None
    return moment_of(total.first_event), moment_of(total.last_event)
