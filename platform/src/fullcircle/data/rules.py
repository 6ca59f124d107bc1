"""What the data contract asks of each column, as vectorised predicates over one column. Pure.

A predicate takes a column of whatever type arrived and answers one bool a row: True where the rule holds. It never
raises: a value of the wrong type breaks the type rule alone, and counts as missing for the others.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.project import Category, Column, Image, Number, Project

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Predicate = Callable[["pd.Series"], "pd.Series"]


@dataclass(frozen=True)
class Rule:
    """One sentence about a column ("is between 0 and 24") and the predicate that checks it."""

    sentence: str
    holds: Predicate


def rules(project: Project) -> dict[str, tuple[Rule, ...]]:
    """Column name -> its rules, for the project's columns, target, time and row id, in this order."""
    return {
        **{column.name: column_rules(column) for column in project.columns},
        project.target.name: (Rule("is 0 or 1", _zero_or_one),),
        project.time: (Rule("is a time with a timezone", _times), Rule("is not missing", _present)),
        project.row_id: (Rule("is not missing", _filled), Rule("is unique", _unique)),
    }


def column_rules(column: Column) -> tuple[Rule, ...]:
    """Type, nullability, and range, known categories or size of one column."""
    if isinstance(column, Image):
        return _image_rules(column)
    if isinstance(column, Category):
        found = [Rule("is text", _text)]
        if not column.nullable:
            found.append(Rule("is not missing", _filled))
        if column.known != "learn":
            known = tuple(column.known)
            found.append(Rule(f"is one of the {len(known)} known categories", lambda values: _known(values, known)))
        return tuple(found)
    found = [Rule("is a number", _numeric), Rule("is finite as float32", _finite)]
    if not column.nullable:
        found.append(Rule("is not missing", _present))
    if column.low is not None or column.high is not None:
        found.append(Rule(_range_sentence(column), lambda values: _in_range(values, column.low, column.high)))
    return tuple(found)


def _image_rules(column: Image) -> tuple[Rule, ...]:
    import numpy as np

    low, high, largest = np.float32(column.low), np.float32(column.high), np.finfo(np.float32).max
    unit = f" {column.unit}" if column.unit else ""
    return (
        Rule("is a list of numbers", lambda cells: cells.isna() | _each(cells, lambda found: found is not None)),
        Rule("is not missing", _present),
        Rule(f"has {column.values} numbers ({column.size})", _every(lambda found: found.size == column.values)),
        Rule("is finite as float32", _every(lambda found: bool((np.abs(found) <= largest).all()))),
        # Not finite is another rule's to say: an image is then named once.
        Rule(
            f"has every pixel between {column.low:g} and {column.high:g}{unit}",
            _every(lambda found: not bool(((found < low) | (found > high)).any())),
        ),
    )


def _every(holds: Callable[[NDArray[np.generic]], bool]) -> Predicate:
    """The predicate on cells that are lists of numbers; any other cell is the type rule's to name."""
    return lambda cells: _each(cells, lambda found: found is None or holds(found))


def _each(cells: pd.Series, holds: Callable[[NDArray[np.generic] | None], bool]) -> pd.Series:
    import pandas as pd

    return pd.Series([holds(_list_of_numbers(cell)) for cell in cells], index=cells.index, dtype=bool)


def _list_of_numbers(cell: object) -> NDArray[np.generic] | None:
    """A cell's numbers as they are, flat; None when it is anything else."""
    import numpy as np

    if not isinstance(cell, list | tuple | np.ndarray):
        return None
    try:
        found = np.asarray(cell)
    except ValueError:  # lists of unequal lengths
        return None
    return found.reshape(-1) if found.dtype.kind in "iuf" else None


def _range_sentence(column: Number) -> str:
    unit = f" {column.unit}" if column.unit else ""
    if column.low is None:
        return f"is at most {column.high:g}{unit}"
    if column.high is None:
        return f"is at least {column.low:g}{unit}"
    return f"is between {column.low:g} and {column.high:g}{unit}"


def _is_number_type(values: pd.Series) -> bool:
    from pandas.api import types

    return types.is_numeric_dtype(values.dtype) and not types.is_complex_dtype(values.dtype)


def _numeric(values: pd.Series) -> pd.Series:
    if _is_number_type(values):
        return _all(values)
    if values.dtype == object:
        return values.isna() | values.map(lambda value: isinstance(value, numbers.Number))
    return values.isna()


def _numbers(values: pd.Series) -> pd.Series:
    """The numbers of a column as they are; what is no number becomes NaN."""
    import pandas as pd

    if _is_number_type(values):
        return values
    if values.dtype != object:
        return pd.Series(float("nan"), index=values.index)
    return pd.to_numeric(values.where(_numeric(values)), errors="coerce")


def _finite(values: pd.Series) -> pd.Series:
    import numpy as np

    found = _numbers(values)
    # The graph's numbers are float32: a larger double would become infinite there.
    return found.isna() | (found.abs() <= float(np.finfo(np.float32).max))


def _in_range(values: pd.Series, low: float | None, high: float | None) -> pd.Series:
    found = _numbers(values)
    # In the column's own precision: float32(0.1) is more than 0.1, and must not break "at most 0.1".
    own = found.dtype.type if found.dtype.kind == "f" else float
    holds = _all(found)
    if low is not None:
        holds &= found.isna() | (found >= own(low))
    if high is not None:
        holds &= found.isna() | (found <= own(high))
    return holds.astype(bool)


def _present(values: pd.Series) -> pd.Series:
    return values.notna()


def _filled(values: pd.Series) -> pd.Series:
    return values.notna() & (values != "").fillna(False).astype(bool)


def _text(values: pd.Series) -> pd.Series:
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        texts = {value for value in values.cat.categories if isinstance(value, str)}
        return values.isna() | values.isin(texts)
    # The inference is one pass in C; cells are looked at one by one only when it finds something else.
    if pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty"):
        return _all(values)
    return values.isna() | values.map(lambda value: isinstance(value, str)).astype(bool)


def _known(values: pd.Series, known: tuple[str, ...]) -> pd.Series:
    return values.isin([*known, ""]) | values.isna()


def _zero_or_one(values: pd.Series) -> pd.Series:
    return values.isin([0, 1])


def _times(values: pd.Series) -> pd.Series:
    import pandas as pd

    return _all(values) if isinstance(values.dtype, pd.DatetimeTZDtype) else values.isna()


def _unique(values: pd.Series) -> pd.Series:
    return ~values.duplicated(keep="first") | values.isna()


def _all(values: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(True, index=values.index)
