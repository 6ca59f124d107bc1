"""The dataframe formats of MLflow's scoring protocol (split, records, inputs, CSV) as columns. Pure.

Only what is expected is built: of another column nothing but its name and its length is of interest, so a list that is
there already stands in for it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fullcircle.core.errors import BadRequest
from fullcircle.serving.request_limits import Limits, TooLarge

MISSING_IN_CSV = {"", "nan", "na", "n/a", "null", "none"}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is read of a table.

    Attributes:
        names: its columns, of which values are built.
        images: those of them whose values are lists themselves.
        limits: how much there may be.
    """

    names: frozenset[str]
    images: frozenset[str]
    limits: Limits


def flat_column(name: str, values: object) -> list[Any]:
    """A flat list of values from [v, ...] or [[v], ...]. Raises BadRequest."""
    if not isinstance(values, list):
        raise BadRequest(f"column {name!r} must be a list of values, got {type(values).__name__}", field=name)
    if not any(isinstance(value, list) for value in values):
        return values
    if any(not isinstance(value, list) or len(value) != 1 for value in values):
        raise BadRequest(f"column {name!r} must have one value for each row", field=name)
    return [value[0] for value in values]


def _split(frame: object, expected: Expected) -> dict[str, list[Any]]:
    if (
        not isinstance(frame, dict)
        or not isinstance(frame.get("columns"), list)
        or not isinstance(frame.get("data"), list)
    ):
        raise BadRequest(
            "dataframe_split must be an object with the lists 'columns' and 'data'", field="dataframe_split"
        )
    names: list[str] = frame["columns"]
    rows = frame["data"]
    if not all(isinstance(name, str) for name in names):
        raise BadRequest("the names of columns must be strings", field="columns")
    if doubled := sorted(name for name, times in Counter(names).items() if times > 1):
        raise BadRequest(f"column {doubled[0]!r} is given twice", field=doubled[0])
    expected.limits.check_rows(len(rows))
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise BadRequest(f"row {index} must be a list of {len(names)} values, one for each column", field="data")
    return {
        name: [row[position] for row in rows] if name in expected.names else rows for position, name in enumerate(names)
    }


def _records(rows: object, expected: Expected) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadRequest("dataframe_records must be a list of objects, one for each row", field="dataframe_records")
    expected.limits.check_rows(len(rows))
    # A key that some row lacks is null there, as in pandas; a column that none has is missing.
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] if name in expected.names else rows for name in names}


def _inputs(columns: object, expected: Expected) -> dict[str, list[Any]]:
    if isinstance(columns, list):
        return _records(columns, expected)
    if not isinstance(columns, dict):
        raise BadRequest("inputs must be an object of columns or a list of rows", field="inputs")
    scalars = not any(isinstance(values, list) for values in columns.values())
    return {
        name: [values] if scalars else _rows(name, values) if name in expected.images else flat_column(name, values)
        for name, values in columns.items()
    }


def _rows(name: str, values: object) -> list[Any]:
    if not isinstance(values, list):
        raise BadRequest(f"column {name!r} must be a list of images, got {type(values).__name__}", field=name)
    return values


COLUMNS: Mapping[str, Callable[[object, Expected], dict[str, list[Any]]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _inputs,
    "instances": _inputs,
}
"""Format -> (what was sent, what is read of it) -> columns by name. Each raises BadRequest, TooLarge."""


def csv_columns(body: bytes, expected: Expected) -> dict[str, list[Any]]:
    """The columns of a CSV body with a header line; every value is a string. Raises BadRequest, TooLarge."""
    limits = expected.limits
    rows: list[list[str]] = []
    cells = 0
    try:
        # Line by line: a body of line breaks alone would be a list for each of them.
        for row in csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline=""), strict=True):
            if not row:
                continue
            cells += len(row)
            if cells > limits.cells + len(rows[0] if rows else row):
                raise TooLarge(f"the body has more than the {limits.cells} values that one request may have")
            rows.append(row)
            limits.check_rows(len(rows) - 1)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"the body is not CSV in UTF-8 ({error})") from error
    if not rows:
        raise BadRequest("the CSV body has no header line")
    return _split({"columns": rows[0], "data": rows[1:]}, expected)


def csv_number(name: str, index: int, text: str) -> float | None:
    """One number of a CSV column; None where it is missing. Raises BadRequest naming the column."""
    if text.strip().lower() in MISSING_IN_CSV:
        return None
    try:
        if text.isascii() and "_" not in text:  # Python would also take 1_000 and digits of any script
            return float(text)
    except ValueError:
        pass
    raise BadRequest(f"column {name!r}, row {index}: must be a number, got {text!r:.40}", field=name)
