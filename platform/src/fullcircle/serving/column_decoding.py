"""Values as they come over the wire to raw columns as `core.row_tensors` has them, or a BadRequest that names the
column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import BadRequest
from fullcircle.core.plain_values import EXACT, text_fault
from fullcircle.core.project import Column
from fullcircle.core.row_tensors import FIRST_YEAR, LAST_YEAR, OVERFLOW, identity
from fullcircle.serving.image_decoding import images

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOUBTFUL_MS = 10**11
"""A smaller number of milliseconds, before March 1973, may as well be seconds of our time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMERIC = {int, float, bool}


def raw_column(column: Column, values: Sequence[object]) -> NDArray[np.generic]:
    """One column of a request as the graph takes it: (rows, 1), float32 or object of str; an image as `images` says.

    A null is a missing value. A value outside the contract's range or categories is let through: judging that is
    monitoring's work, and a caller needs an answer.

    Raises:
        BadRequest: wrong type, a null where none may be, a number that is not finite as float32.
    """
    if column.kind == "image":
        return images(column, values)
    kinds = set(map(type, values))
    if type(None) in kinds and not column.nullable:
        raise _at(column.name, values.index(None), "must not be null")
    return _texts(column, values, kinds) if column.is_text else _numbers(column, values, kinds)


def texts(name: str, values: Sequence[object]) -> list[str]:
    """Identities: strings or integers, in their one form (`core.row_tensors.identity`); a null is "".

    Raises:
        BadRequest: another type, or text that a file may not have either (`core.plain_values.text_fault`).
    """
    result = ["" if value is None else identity(value) for value in values]
    if None in result:
        index = result.index(None)
        raise _at(name, index, f"must be a string or an integer, got {_kind(values[index])}")
    found = [text for text in result if text is not None]
    _check_texts(name, found)
    return found


def moments(name: str, values: Sequence[object]) -> list[datetime | None]:
    """Event times in UTC: ISO 8601 strings with an offset, or milliseconds since 1970; null stays None.

    Raises:
        BadRequest: neither of the two; a string without an offset; a number that may be seconds; or a year outside 1900
            to 2200.
    """
    return [None if value is None else _moment(name, index, value) for index, value in enumerate(values)]


def _numbers(column: Column, values: Sequence[object], kinds: set[type]) -> NDArray[np.generic]:
    if not kinds <= _NUMERIC | {type(None)}:
        index = next(i for i, value in enumerate(values) if value is not None and type(value) not in _NUMERIC)
        raise _at(column.name, index, f"must be a number, got {_kind(values[index])}")
    if int in kinds:
        _check_exact(column.name, values)
    if len(values) == 1:  # the usual request; numpy's setup would cost more than the work
        return _number(column, values[0])
    filled = [math.nan if value is None else value for value in values] if type(None) in kinds else list(values)
    with np.errstate(over="ignore"):
        numbers = np.array(filled, "float64").astype("float32")
    finite = np.isfinite(numbers)
    if column.nullable:
        finite |= np.isnan(numbers)
    if not finite.all():
        index = int(np.argmin(finite))
        raise _at(column.name, index, f"must be finite as a 32-bit number, got {_short(values[index])}")
    return numbers.reshape(-1, 1)


def _check_exact(name: str, values: Sequence[object]) -> None:
    for index, value in enumerate(values):
        if isinstance(value, int) and abs(value) > EXACT:
            if abs(value) >= OVERFLOW:
                raise _at(name, index, "must be finite as a 32-bit number, got a huge integer")
            raise _at(name, index, "must be a number that 64 bits hold exactly, got an integer beyond 2^53")


def _number(column: Column, value: object) -> NDArray[np.generic]:
    assert value is None or isinstance(value, int | float)
    missing = value is None or (column.nullable and value != value)  # NaN alone differs from itself
    # Compared before numpy sees it: an integer may be too large even for a 64-bit number.
    if not missing and not (value is not None and -OVERFLOW < value < OVERFLOW):
        raise _at(column.name, 0, f"must be finite as a 32-bit number, got {_short(value)}")
    return np.array([[math.nan if missing else value]], "float32")


def _texts(column: Column, values: Sequence[object], kinds: set[type]) -> NDArray[np.generic]:
    if not kinds <= {str, type(None)}:
        index = next(i for i, value in enumerate(values) if type(value) not in {str, type(None)})
        raise _at(column.name, index, f"must be a string, got {_kind(values[index])}")
    filled = ["" if value is None else str(value) for value in values]
    if not column.nullable and "" in filled:
        raise _at(column.name, filled.index(""), "must not be empty")
    _check_texts(column.name, filled)
    raw = np.empty((len(filled), 1), object)
    raw[:, 0] = filled
    return raw


def _check_texts(name: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if fault := text_fault(value):
            raise _at(name, index, fault)


def _moment(name: str, index: int, value: object) -> datetime:
    moment: datetime | None = None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise _at(name, index, f"must have an offset, such as 2024-03-01T12:00:00Z, got {value!r:.60}")
            moment = moment.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) < DOUBTFUL_MS:
                raise _at(name, index, f"must be milliseconds since 1970, got {value!r:.60}, which may be seconds")
            moment = _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise _at(name, index, f"must be an ISO 8601 time or milliseconds since 1970, got {value!r:.60}")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _at(name, index, f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}, got {value!r:.60}")
    return moment


def _at(name: str, index: int, must: str) -> BadRequest:
    return BadRequest(f"column {name!r}, row {index}: {must}", field=name)


def _short(value: object) -> str:
    return "a huge integer" if isinstance(value, int) else f"{value!r:.40}"


def _kind(value: object) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
