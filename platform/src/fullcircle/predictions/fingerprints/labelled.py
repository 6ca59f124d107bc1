"""The labels of a segment's rows, beside it: `<segment's name>.labels`, one cell for each of its rows, in their order.

Labels arrive by row id, in files of their own. Each is looked for in a segment once: the file names those that were, so
the next reading looks for the labels that came since, and joins nothing again. What the labels say of the answers
(`Labelled`) is in the file's metadata, so it is read without the rows. As with fingerprints, nothing is lost with it.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fullcircle.core.system.files import replacing
from fullcircle.core.tasks.base import Task
from fullcircle.predictions import parquet_segments
from fullcircle.predictions.fingerprints import segment_file
from fullcircle.predictions.fingerprints.answer_bins import Calibration
from fullcircle.predictions.fingerprints.build import groups_of
from fullcircle.predictions.fingerprints.contract import Contract
from fullcircle.predictions.fingerprints.fingerprint import GroupSummary, LogFingerprint
from fullcircle.predictions.label_files import AT_ONCE, LABEL, LabelFiles, Labels, hashed, no_labels, read_type
from fullcircle.predictions.log_files import read_segment
from fullcircle.predictions.row_shape import KEPT, latest_rows, shaped

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FORMAT = 1
_KEY = b"fullcircle.labels"


class Labelled(msgspec.Struct, frozen=True, array_like=True):
    """The rows of one model version whose label is known, against their answers.

    Attributes:
        calibration: number of the answer -> against the truth.
        slices: column -> group -> the same of its rows.
    """

    rows: int
    calibration: dict[str, Calibration]
    slices: dict[str, dict[str, dict[str, Calibration]]]


class LabelledSource(msgspec.Struct, frozen=True, array_like=True):
    """Of which segment and contract it is, which label files were looked through, and what they came to."""

    format: int
    segment: tuple[int, int]
    contract: int
    files: tuple[str, ...]
    versions: dict[str, Labelled]


def beside(segment: Path) -> Path:
    """Where the labels of a segment's rows lie."""
    return segment.with_suffix(parquet_segments.LABELS)


def bring_up_to_date(segments: Sequence[Path], contract: Contract, task: Task, files: LabelFiles) -> int:
    """Look for the labels that came since in each of these segments; in how many there was something to look for.

    Each label is read once for all segments that have looked through the same files. In a home that cannot be written
    nothing is kept.

    Raises:
        FileNotFoundError: a segment was merged into another one meanwhile.
    """
    alike: dict[tuple[str, ...], list[Path]] = {}
    for segment in segments:
        if names := files.new(_looked(segment, contract, task)):
            alike.setdefault(names, []).append(segment)
    with contextlib.suppress(PermissionError):
        for wanted, group in alike.items():
            for names, labels in files.parts(wanted, among=_few_ids(group)):
                for segment in group:
                    _update(segment, contract, task, names, labels)
    return sum(map(len, alike.values()))


def _few_ids(segments: Sequence[Path]) -> pa.Array | None:
    """The row ids of these segments; None where they are more than are held in memory."""
    import pyarrow as pa

    parts, rows = [], 0
    for segment in segments:
        parts += read_segment(segment, ("row_id",))["row_id"].chunks
        rows += len(parts[-1])
        if rows > AT_ONCE:
            return None
    return pa.concat_arrays(parts) if parts else None


def labelled(segment: Path, contract: Contract, task: Task, files: LabelFiles) -> dict[str, Labelled]:
    """Model version -> what the labels that are known now say. Raises FileNotFoundError."""
    mark = _mark(segment, contract, task)
    if files.new(mark.files if mark else ()):
        found = files.of(_row_ids(segment), read_type(task))
        return _summed_up(segment, found, contract, task)
    return mark.versions if mark else {}


def cells(
    segment: Path,
    places: Sequence[slice],
    row_ids: pa.ChunkedArray,
    contract: Contract,
    task: Task,
    files: LabelFiles,
) -> pa.ChunkedArray:
    """The labels of some rows of a segment as the label log keeps them, null while unknown. Raises FileNotFoundError.

    Args:
        places: where these rows are in it, rising.
        row_ids: of these rows.
    """
    import pyarrow as pa

    mark = _mark(segment, contract, task)
    if mark is not None and not files.new(mark.files):
        with contextlib.suppress(FileNotFoundError):  # somebody replaced it meanwhile, or it is damaged
            labels = _read(segment, LABEL[:1])["label"]
            return pa.chunked_array([c for p in places for c in labels[p].chunks], labels.type)
    return files.of(row_ids.combine_chunks(), read_type(task))["label"]


def with_labels(fingerprint: LogFingerprint, found: Labelled | None) -> LogFingerprint:
    """The fingerprint with what is known of its labels."""
    if found is None:
        return fingerprint
    slices = {
        column: {
            group: GroupSummary(
                rows=summary.rows,
                answers=summary.answers,
                calibration=found.slices.get(column, {}).get(group, {}),
            )
            for group, summary in groups.items()
        }
        for column, groups in fingerprint.slices.items()
    }
    return msgspec.structs.replace(fingerprint, labelled=found.rows, calibration=found.calibration, slices=slices)


def summed_up(
    rows: pa.Table, labels: pa.ChunkedArray, contract: Contract, task: Task, *, twice: bool = True
) -> dict[str, Labelled]:
    """Model version -> what the labels of these rows say; rows that a later answer superseded are left out.

    Args:
        rows: shaped, the log's own columns, the answers and the slices at least.
        labels: as the label log keeps them, null while unknown.
        twice: whether a row id may be there twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = labels.is_valid().to_numpy(zero_copy_only=False)
    known = known & latest_rows(rows) if twice else known
    if not known.any():
        return {}
    rows, truths = rows.filter(pa.array(known)), _truths(labels.filter(pa.array(known)), task)
    if (unknown := np.isnan(truths).any(axis=1)).any():  # of a class that there is no more
        rows, truths = rows.filter(pa.array(~unknown)), truths[~unknown]
    found = {}
    for version in pc.unique(rows["model_version"]).to_pylist():
        where = pc.equal(rows["model_version"], version)
        part, truth = rows.filter(where), truths[where.to_numpy(zero_copy_only=False)]
        every = np.ones(part.num_rows, dtype=bool)
        found[version] = Labelled(
            rows=part.num_rows,
            calibration=_calibrations(part, truth, every, contract),
            slices={
                name: {group: _calibrations(part, truth, inside, contract) for group, inside in groups_of(part[name])}
                for name in contract.slices
            },
        )
    return found


def _summed_up(segment: Path, found: pa.Table, contract: Contract, task: Task) -> dict[str, Labelled]:
    twice = segment_file.has_repeats(segment, contract)
    # Which of two answers is later is asked only where there are two.
    own = KEPT if twice else ("model_version",)
    wanted = {*own, *(answer.name for answer in contract.answers), *contract.slices}
    kinds = {name: kind for name, kind in contract.kinds.items() if name in wanted}
    rows = read_segment(segment, tuple(kinds))
    return summed_up(shaped(rows, kinds), found["label"], contract, task, twice=twice)


def _row_ids(segment: Path) -> pa.Array:
    return read_segment(segment, ("row_id",))["row_id"].combine_chunks()


def _looked(segment: Path, contract: Contract, task: Task) -> tuple[str, ...]:
    mark = _mark(segment, contract, task)
    return mark.files if mark else ()


def _update(segment: Path, contract: Contract, task: Task, names: Sequence[str], labels: Labels) -> None:
    of, known, ids = segment_file.mark(segment), _mark(segment, contract, task), _row_ids(segment)
    before = _read(segment) if known else no_labels(len(ids), read_type(task))
    found = labels.over(before, ids, hashed(ids))
    # Most files of labels have none of a segment's rows.
    same = known is not None and found is before
    mark = LabelledSource(
        format=FORMAT,
        segment=of,
        contract=_digest(contract, task),
        files=tuple(sorted({*(known.files if known else ()), *names})),
        versions=known.versions if known and same else _summed_up(segment, found, contract, task),
    )
    _write(segment, found, mark)


def _digest(contract: Contract, task: Task) -> int:
    return zlib.crc32(task.label_codec.stored_as.encode(), contract.digest)


def _mark(segment: Path, contract: Contract, task: Task) -> LabelledSource | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    of = segment_file.mark(segment)
    try:
        found = msgspec.msgpack.decode((pq.read_schema(beside(segment)).metadata or {})[_KEY], type=LabelledSource)
    except FileNotFoundError:
        return None
    except (OSError, KeyError, pa.ArrowException, msgspec.MsgspecError) as error:
        _say_damaged(segment, error)
        return None
    return found if (found.format, found.segment, found.contract) == (FORMAT, of, _digest(contract, task)) else None


def _read(segment: Path, columns: Sequence[str] = LABEL) -> pa.Table:
    """The labels that are beside a segment.

    Raises:
        FileNotFoundError: they are not there, or were damaged and are no more: whoever reads again makes them again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = beside(segment)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(list(columns)).replace_schema_metadata(None)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        _say_damaged(segment, error)
        path.unlink(missing_ok=True)
        raise FileNotFoundError(f"{path} was damaged ({error})") from error


def _say_damaged(segment: Path, error: Exception) -> None:
    logger.warning("%s is damaged (%s): the labels are looked for again", beside(segment), error)


def _write(segment: Path, found: pa.Table, mark: LabelledSource) -> None:
    import pyarrow.parquet as pq

    rows = found.replace_schema_metadata({_KEY: msgspec.msgpack.encode(mark)})
    with replacing(beside(segment)) as part, part.open("wb") as file:
        pq.write_table(rows, file, compression="zstd", write_page_checksum=True)


def _truths(labels: pa.ChunkedArray, task: Task) -> NDArray[np.float64]:
    """What each number of an answer should have been, (rows, numbers); NaN where the label is not known any more."""
    import pandas as pd

    known = task.label_codec.known_labels(pd.Series(task.label_codec.recalled(labels.to_pandas().to_numpy())))
    numbers = [column for column in task.answers.columns if column.is_number]
    parts = [column.name for column in numbers if column.part]
    whole = known if known.ndim == 1 else known[:, 0]
    sure = task.label_codec.are_known(known)
    truths = np.full((len(sure), len(numbers)), np.nan)
    targets = task.label_codec.logged(known[sure])
    for index, column in enumerate(numbers):
        happened = task.happened(targets, parts.index(column.name)) if column.part else whole[sure]
        truths[sure, index] = np.asarray(happened, dtype=np.float64)
    return truths


def _calibrations(
    rows: pa.Table, truths: NDArray[np.float64], inside: NDArray[np.bool_], contract: Contract
) -> dict[str, Calibration]:
    found = {}
    for index, column in enumerate(contract.answers):
        answers = np.asarray(rows[column.name].to_numpy(), dtype=np.float32)
        where = inside & np.isfinite(answers)
        if where.any():
            found[column.name] = Calibration.of(answers[where], truths[where, index], column)
    return found
