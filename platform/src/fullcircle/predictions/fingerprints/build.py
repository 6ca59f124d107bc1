"""Makes fingerprints of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Column, Image, Number
from fullcircle.predictions.fingerprints.answer_bins import counted
from fullcircle.predictions.fingerprints.category_summary import CategorySummary
from fullcircle.predictions.fingerprints.contract import Contract
from fullcircle.predictions.fingerprints.fingerprint import GroupSummary, LogFingerprint
from fullcircle.predictions.fingerprints.number_summary import NumberSummary
from fullcircle.predictions.fingerprints.row_ids import RowIds
from fullcircle.predictions.row_shape import latest, shaped

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

MOST_GROUPS = 64
"""Groups of a slice in one part of the log, the most frequent first; the rows of any other are in no group."""


def fingerprints_of(rows: pa.Table, contract: Contract) -> dict[str, LogFingerprint]:
    """Model version -> fingerprint, of the rows of one part of the log: a row id counts once, by its latest answer."""
    import pyarrow.compute as pc

    if not rows.num_rows:
        return {}
    shape = shaped(rows, contract.kinds)
    kept = latest(shape)
    all_rows = _rows_by_version(shape)
    found = {}
    for version in sorted(_rows_by_version(kept)):
        part = kept if len(all_rows) == 1 else kept.filter(pc.equal(kept["model_version"], version))
        found[version] = _fingerprint(part, contract, all_rows[version] - part.num_rows)
    return found


def _rows_by_version(rows: pa.Table) -> dict[str, int]:
    import pyarrow.compute as pc

    counts = pc.value_counts(rows["model_version"])
    return dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))


def _fingerprint(rows: pa.Table, contract: Contract, superseded: int) -> LogFingerprint:
    events, arrivals = (_extremes(rows[name]) for name in ("event_time", "logged_at"))
    answers = {each.name: _floats(rows[each.name]) for each in contract.answers}
    return LogFingerprint(
        rows=rows.num_rows,
        superseded=superseded,
        first_event=events[0],
        last_event=events[1],
        first_arrival=arrivals[0],
        last_arrival=arrivals[1],
        row_ids=RowIds.of(rows["row_id"].to_pylist()),
        numbers={each.name: _number(rows[each.name], each) for each in contract.columns if not each.is_text},
        categories={each.name: CategorySummary.of(rows[each.name]) for each in contract.columns if each.is_text},
        answers={each.name: NumberSummary.of(answers[each.name], each.low, each.high) for each in contract.answers},
        histograms={each.name: counted(answers[each.name], each) for each in contract.answers},
        slices={name: _groups(rows[name], answers, contract) for name in contract.slices},
    )


def groups_of(cells: pa.ChunkedArray) -> list[tuple[str, NDArray[np.bool_]]]:
    """The most frequent groups of a slice and where their rows are; missing ones are a group, too."""
    import pyarrow.compute as pc

    coded = pc.dictionary_encode(cells.combine_chunks())
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    sizes = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda code: (-sizes[code], names[code]))
    return [(names[code], codes == code) for code in order[:MOST_GROUPS]]


def _groups(
    cells: pa.ChunkedArray, answers: dict[str, NDArray[np.float32]], contract: Contract
) -> dict[str, GroupSummary]:
    return {
        name: GroupSummary(
            rows=int(where.sum()),
            answers={each.name: counted(answers[each.name][where], each) for each in contract.answers},
        )
        for name, where in groups_of(cells)
    }


def _number(cells: pa.ChunkedArray, column: Column) -> NumberSummary:
    if isinstance(column, Image):
        return _image(cells, column)
    assert isinstance(column, Number), "a category is summed up by itself"
    return NumberSummary.of(_floats(cells), column.low, column.high)


def _image(cells: pa.ChunkedArray, column: Image) -> NumberSummary:
    """Of images only rows are counted: those that are not there, and those with a pixel out of range."""
    found = cells.combine_chunks()
    there = found.drop_null()
    pixels = there.flatten().to_numpy(zero_copy_only=False).reshape(len(there), column.values)
    absent = np.isnan(pixels).all(axis=1)
    beyond = ((pixels < np.float32(column.low)) | (pixels > np.float32(column.high))).any(axis=1)
    return NumberSummary(
        rows=len(found), missing=len(found) - len(there) + int(absent.sum()), outside=int(beyond.sum())
    )


def _floats(cells: pa.ChunkedArray) -> NDArray[np.float32]:
    """float32 (rows,), NaN where missing."""
    values: NDArray[Any] = cells.to_numpy()
    return np.asarray(values, dtype=np.float32)


def _extremes(times: pa.ChunkedArray) -> tuple[int, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.min_max(times.cast(pa.int64()))
    return int(found["min"].as_py()), int(found["max"].as_py())
