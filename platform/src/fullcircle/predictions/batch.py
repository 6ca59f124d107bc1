"""Rows that were answered together, and the bytes that a write-ahead record has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.core.row_tensors import identity
from fullcircle.predictions import wal
from fullcircle.predictions.ids import microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that were answered together.

    Attributes:
        event_times: when each row's event is, timezone-aware.
        row_ids: each row's own id; "" where the caller gave none: the prediction id then stands in, so that a
            label can still find its row.
        inputs: column name -> (rows,) or (rows, 1), an image (rows, height, width, channels), as in `core.row_tensors`.
        answers: (rows,) or (rows, 1) of one number, else (rows, numbers) in the order of the log's.
    """

    model_version: str
    digest: str
    event_times: Sequence[datetime]
    row_ids: Sequence[str]
    inputs: Mapping[str, NDArray[np.generic]]
    answers: NDArray[np.float32]


class EncodedBatch(NamedTuple):
    """A batch as a record keeps it, but for its prediction ids."""

    row_ids: list[str]
    event_times: bytes
    numbers: bytes
    categories: list[list[str]]
    images: list[bytes]
    answers: bytes


def encoded(batch: Batch, header: wal.Header) -> EncodedBatch:
    """The batch for a file with this header.

    Raises:
        UsageError: when a column is missing or has another number of rows than the rest, a row id is neither text nor a
            whole number, a category is no text, a time has no zone, or the answers are of another shape.
    """
    rows, width = len(batch.row_ids), len(header.answers)
    row_ids = [row_id if type(row_id) is str else _named(row_id) for row_id in batch.row_ids]
    numbers, categories, images = _inputs(header, batch.inputs, rows)
    answers = np.ascontiguousarray(batch.answers, "<f4")
    if answers.size != rows * width or len(answers) != rows or len(batch.event_times) != rows:
        raise UsageError(
            f"{rows} row ids, {len(batch.event_times)} times and answers of shape {answers.shape} in one batch, "
            f"where an answer has {width} numbers"
        )
    try:
        times = np.fromiter(map(microseconds, batch.event_times), "<i8", rows).tobytes()
    except TypeError as error:
        raise UsageError(f"event times must have a time zone ({error})") from error
    return EncodedBatch(row_ids, times, numbers, categories, images, answers.tobytes())


def _inputs(
    header: wal.Header, inputs: Mapping[str, NDArray[np.generic]], rows: int
) -> tuple[bytes, list[list[str]], list[bytes]]:
    sizes = {**dict.fromkeys((*header.numbers, *header.categories), 1), **dict(header.images)}
    try:
        given = {name: inputs[name].reshape(rows, size) for name, size in sizes.items()}
    except KeyError as missing:
        raise UsageError(f"column {missing} is missing from the batch") from None
    except ValueError as error:
        shapes = {name: inputs[name].shape for name, size in sizes.items() if inputs[name].size != rows * size}
        raise UsageError(f"{rows} row ids, but inputs of shape {shapes}") from error
    numbers = b"".join(given[name].astype("<f4", copy=False).tobytes() for name in header.numbers)
    words = [_words(name, given[name].reshape(rows)) for name in header.categories]
    return numbers, words, [given[name].astype("<f4", copy=False).tobytes() for name, _ in header.images]


def _named(row_id: object) -> str:
    # A record whose ids are not text is not read back, and takes the rows of its whole file with it.
    if (named := identity(row_id)) is None:
        raise UsageError(f"a row id must be text or a whole number, got {row_id!r:.60}")
    return named


def _words(name: str, values: NDArray[np.generic]) -> list[str]:
    cells: list[Any] = values.astype(object, copy=False).tolist()
    if all(type(cell) is str for cell in cells):
        return cells
    if odd := [cell for cell in cells if not isinstance(cell, str)]:
        raise UsageError(f"column {name!r} is a category, which is text, got {odd[0]!r:.60}")
    return [str(cell) for cell in cells]  # numpy's own kind of text
