"""Decodes images of a request: flat or nested lists of numbers to float32 (rows, height, width, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMERIC = "biuf"


def images(column: Column, cells: Sequence[object]) -> NDArray[np.float32]:
    """One image a row: float32 (rows, height, width, channels).

    A cell is flat (values,), nested (height, width, channels), or (height, width) where there is one channel. Any other
    nesting of as many numbers is refused: channels in another place would be another picture. A value outside the
    contract's range is let through: judging that is monitoring's work.

    Raises:
        BadRequest: no list, another shape, or something in it that is no number that is finite as float32.
    """
    found = np.empty((len(cells), *column.tensor_shape), np.float32)
    for row, cell in enumerate(cells):
        found[row] = _image(column, row, cell)
    return found


def tensor_rows(column: Column, shape: Sequence[int], data: Sequence[object]) -> list[Any]:
    """The rows of a tensor of the Open Inference Protocol, whose data may be flat or nested.

    Raises:
        BadRequest: a shape that is not [n, height, width, channels] or [n, values], or data that does not fill it.
    """
    name, rows = column.name, shape[0] if shape else -1
    allowed = _shapes(column)
    if rows < 0 or tuple(shape[1:]) not in allowed:
        must = f"must have shape [n, {', '.join(map(str, column.tensor_shape))}] or [n, {column.values}]"
        raise BadRequest(f"input {name!r} {must}, got {list(shape)!r:.80}", field=name)
    if not any(isinstance(value, list) for value in data):
        values = column.values
        if len(data) != rows * values:
            raise BadRequest(f"input {name!r} has shape {list(shape)} but {len(data)} values", field=name)
        return [data[row * values : (row + 1) * values] for row in range(rows)]
    if len(data) != rows:
        raise BadRequest(f"input {name!r} has shape {list(shape)} but {len(data)} rows", field=name)
    return list(data)


def _shapes(column: Column) -> tuple[tuple[int, ...], ...]:
    flat, whole = (column.values,), column.tensor_shape
    return (flat, whole, whole[:2]) if column.tensor_shape[2] == 1 else (flat, whole)


def _image(column: Column, row: int, cell: object) -> NDArray[np.float32]:
    if not isinstance(cell, list):
        kind = "null" if cell is None else type(cell).__name__
        raise _at(column, row, f"must be a list of {column.values} numbers, got {kind}")
    _check_texts(column, row, cell)
    try:
        found = np.array(cell)
    except ValueError:
        raise _at(column, row, "must be a flat list or one of equal lists") from None
    if found.shape not in _shapes(column):
        raise _at(
            column,
            row,
            f"must have {column.values} numbers ({' x '.join(map(str, column.tensor_shape))}), got {_had(found)}",
        )
    must = "must have numbers that are finite as 32-bit"
    if found.dtype.kind not in NUMERIC and not _all_numbers(found):
        raise _at(column, row, f"{must}, got {_culprit(found)}")
    try:
        with np.errstate(over="ignore"):
            pixels = found.astype(np.float32).reshape(column.tensor_shape)
    except OverflowError:  # an integer beyond float64
        raise _at(column, row, f"{must}, got {_culprit(found)}") from None
    if not np.isfinite(pixels).all():
        raise _at(column, row, f"{must}, got {_culprit(found)}")
    return pixels


def _check_texts(column: Column, row: int, cell: list[Any]) -> None:
    """Refuse a text before numpy sees it, which gives every value of a list as much room as the longest text needs."""
    inner: list[Any] = cell
    for _ in range(4):  # one level more than an image has
        kinds = set(map(type, inner))
        if str in kinds:
            position = next(index for index, value in enumerate(inner) if isinstance(value, str))
            found = f"the string {inner[position][:40]!r} at value {position}"
            raise _at(column, row, f"must have numbers that are finite as 32-bit, got {found}")
        if list not in kinds:
            return
        inner = [each for value in inner if isinstance(value, list) for each in value]
    raise _at(column, row, "must be a flat list or one of equal lists")


def _all_numbers(found: NDArray[Any]) -> bool:
    """Whether integers beyond 64 bits alone are why numpy made objects of them."""
    return found.dtype == object and all(type(value) in (int, float, bool) for value in found.reshape(-1).tolist())


def _had(found: NDArray[Any]) -> str:
    return f"{found.size} numbers" if found.ndim == 1 else f"lists of shape {found.shape}"


def _culprit(found: NDArray[Any]) -> str:
    """The first value that is no finite number, and where."""
    for position, value in enumerate(found.reshape(-1).tolist()):
        if value is None:
            return f"null at value {position}"
        if not isinstance(value, int | float):
            return f"{'a list' if isinstance(value, list) else 'an object'} at value {position}"
        if not abs(value) <= float(np.finfo(np.float32).max):
            return f"{'a huge integer' if isinstance(value, int) else value} at value {position}"
    return "what is none"


def _at(column: Column, row: int, must: str) -> BadRequest:
    return BadRequest(f"column {column.name!r}, row {row}: {must}", field=column.name)
