"""What the data contract asks of each column, as vectorised predicates over one column. Pure.

A predicate takes a column of whatever type arrived and answers one bool a row: True where the rule holds. It never
raises: a value of the wrong type breaks the type rule alone, and counts as missing for the others.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fullcircle.core.plain_values import EXACT, LONGEST_TEXT, double, encodes, is_inexact
from fullcircle.core.project import Category, Column, Image, Number, Project
from fullcircle.core.row_tensors import FIRST_YEAR, LAST_YEAR, OVERFLOW, identity, outside

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks.labels.codec import LabelCodec

Predicate = Callable[["pd.Series"], "pd.Series"]


@dataclass(frozen=True)
class Rule:
    """One sentence about a column ("is between 0 and 24") and the predicate that checks it."""

    sentence: str
    holds: Predicate


def rules(project: Project) -> dict[str, tuple[Rule, ...]]:
    """Column name -> its rules, for the project's columns, target, time and row id, in this order."""
    labels = project.target.label_codec
    return {
        **{column.name: column_rules(column) for column in project.columns},
        **{name: (Rule(labels.sentence, _fits(labels)),) for name in labels.columns},
        project.time: (
            Rule("is a time with a timezone", _times),
            Rule(f"lies in the years {FIRST_YEAR} to {LAST_YEAR}", _sane),
            Rule("is not missing", _present),
        ),
        project.row_id: (
            Rule("is text or a whole number", _identity),
            *_text_rules(),
            Rule("is not missing", _filled),
            Rule("is unique", _unique),
        ),
    }


def column_rules(column: Column) -> tuple[Rule, ...]:
    """Type, nullability, and range, known categories or size of one column."""
    return _RULES[column.kind](column)


def _category_rules(column: Category) -> tuple[Rule, ...]:
    found = [Rule("is text", _text), *_text_rules()]
    if not column.nullable:
        found.append(Rule("is not missing", _filled))
    if column.known != "learn":
        known = tuple(column.known)
        found.append(Rule(f"is one of the {len(known)} known categories", lambda values: _known(values, known)))
    return tuple(found)


def _number_rules(column: Number) -> tuple[Rule, ...]:
    found = [
        Rule("is a number", _numeric),
        Rule("is finite as float32", _finite),
        Rule("is no integer beyond 2^53, which a number does not hold exactly", _exact),
    ]
    if not column.nullable:
        found.append(Rule("is not missing", _present))
    if column.low is not None or column.high is not None:
        found.append(Rule(_range_sentence(column), lambda values: _in_range(values, column.low, column.high)))
    return tuple(found)


def _image_rules(column: Image) -> tuple[Rule, ...]:
    import numpy as np

    low, high = np.float32(column.low), np.float32(column.high)
    unit = f" {column.unit}" if column.unit else ""
    return (
        Rule("is a list of numbers", lambda cells: cells.isna() | _each(cells, lambda found: found is not None)),
        Rule("is not missing", _present),
        Rule(f"has {column.values} numbers ({column.size})", _every(lambda found: found.size == column.values)),
        Rule("is finite as float32", _every(lambda found: bool((np.abs(found.astype("float64")) < OVERFLOW).all()))),
        # Not finite is another rule's to say: an image is then named once.
        Rule(
            f"has every pixel between {column.low:g} and {column.high:g}{unit}",
            _every(lambda found: not bool(((found < low) | (found > high)).any())),
        ),
    )


_RULES: Mapping[str, Callable[[Any], tuple[Rule, ...]]] = MappingProxyType(
    {"number": _number_rules, "category": _category_rules, "image": _image_rules}
)
"""Kind of column -> its rules."""


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


def _text_rules() -> tuple[Rule, ...]:
    """What a request may not send either, a sentence each: `core.plain_values.text_fault`."""
    return (
        Rule(f"has at most {LONGEST_TEXT} characters", _no_text(lambda text: len(text) > LONGEST_TEXT)),
        Rule("has no NUL characters (such as CHAR(n) is padded with)", _no_text(lambda text: "\0" in text)),
        Rule("is valid Unicode", _no_text(lambda text: not encodes(text))),
    )


def _no_text(faulty: Callable[[str], bool]) -> Predicate:
    """Where a cell is not a faulty text; each different text is looked at once."""

    def holds(values: pd.Series) -> pd.Series:
        if values.dtype != object and not _strings(values).any():
            return _all(values)
        cells = values.tolist()
        try:
            distinct = set(cells)  # not pandas' unique, which ends a text at its first NUL
        except TypeError:  # lists among them
            distinct = {cell for cell in cells if isinstance(cell, str)}
        bad = {cell for cell in distinct if isinstance(cell, str) and faulty(cell)}
        return _each_cell(values, lambda cell: not (isinstance(cell, str) and cell in bad)) if bad else _all(values)

    return holds


def _is_number_type(values: pd.Series) -> bool:
    from pandas.api import types

    return types.is_numeric_dtype(values.dtype) and not types.is_complex_dtype(values.dtype)


def _each_cell(values: pd.Series, holds: Callable[[object], bool]) -> pd.Series:
    import pandas as pd

    return pd.Series([holds(cell) for cell in values.tolist()], index=values.index, dtype=bool)


def _strings(values: pd.Series) -> pd.Series:
    """Where a cell is text."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        texts = [value for value in values.cat.categories if isinstance(value, str)]
        return values.isin(texts)
    if isinstance(values.dtype, pd.StringDtype):
        return values.notna()
    if values.dtype != object:
        return ~_all(values)
    if _text_alone(values):
        return values.notna()
    return _each_cell(values, lambda cell: isinstance(cell, str))


def _text_alone(values: pd.Series) -> bool:
    """Whether a column of objects holds text, and nothing else but missing cells: a pass in C, for many cells."""
    import pandas as pd

    return values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) == "string"


def _numeric(values: pd.Series) -> pd.Series:
    if _is_number_type(values):
        return _all(values)
    if values.dtype == object:
        return values.isna() | _each_cell(values, lambda cell: isinstance(cell, numbers.Real | Decimal))
    return values.isna()


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    """The numbers of a column; what is no number becomes NaN."""
    import numpy as np
    import pandas as pd

    if _is_number_type(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if values.dtype != object:
        return np.full(len(values), np.nan)
    found: NDArray[np.float64] = pd.to_numeric(values.where(_numeric(values)).map(double)).to_numpy(dtype=np.float64)
    return found


def _finite(values: pd.Series) -> pd.Series:
    import numpy as np

    found = _numbers(values)
    # The graph's numbers are float32: a larger double would become infinite there.
    return _held(values, ~(np.abs(found) >= OVERFLOW))


def _exact(values: pd.Series) -> pd.Series:
    from pandas.api import types

    if types.is_integer_dtype(values.dtype):
        # Both ends compared: the absolute value of the least int64 is itself.
        return ((values <= EXACT) & (values >= -EXACT)).fillna(True).astype(bool)
    if values.dtype == object:
        return _each_cell(values, lambda cell: not is_inexact(cell))
    return _all(values)


def _in_range(values: pd.Series, low: float | None, high: float | None) -> pd.Series:
    import numpy as np

    found = _numbers(values)
    # Whatever is not finite is another rule's to name, unless it lies beyond the range too.
    infinite = np.isinf(found)
    below = False if low is None else infinite & (found < low)
    above = False if high is None else infinite & (found > high)
    return _held(values, np.where(infinite, ~(below | above), ~outside(found, low, high)))


def _held(values: pd.Series, held: NDArray[np.bool_]) -> pd.Series:
    import pandas as pd

    return pd.Series(held, index=values.index, dtype=bool)


def _present(values: pd.Series) -> pd.Series:
    return values.notna()


def _filled(values: pd.Series) -> pd.Series:
    if _text_alone(values):
        return values.notna() & (values != "")
    texts = values[_strings(values)]
    return values.notna() & (texts.astype(object) != "").reindex(values.index, fill_value=True)


def _text(values: pd.Series) -> pd.Series:
    return values.isna() | _strings(values)


def _known(values: pd.Series, known: tuple[str, ...]) -> pd.Series:
    texts = values[_strings(values)]
    return values.isna() | texts.isin([*known, ""]).reindex(values.index, fill_value=False)


def _identity(values: pd.Series) -> pd.Series:
    from pandas.api import types

    if types.is_integer_dtype(values.dtype):
        return _all(values)
    if values.dtype == object and not _text_alone(values):
        return values.isna() | _each_cell(values, lambda cell: identity(cell) is not None)
    return values.isna() | _strings(values)


def _fits(labels: LabelCodec) -> Predicate:
    """Where a cell is one of the labels."""

    def holds(values: pd.Series) -> pd.Series:
        import pandas as pd

        return pd.Series(labels.holds(values), index=values.index, dtype=bool)

    return holds


def _times(values: pd.Series) -> pd.Series:
    import pandas as pd

    if values.dtype == object:
        return values.isna() | _each_cell(values, lambda cell: getattr(cell, "tzinfo", None) is not None)
    return _all(values) if isinstance(values.dtype, pd.DatetimeTZDtype) else values.isna()


def _sane(values: pd.Series) -> pd.Series:
    import pandas as pd

    if not isinstance(values.dtype, pd.DatetimeTZDtype):
        return _all(values)
    years: pd.Series = values.dt.tz_convert("UTC").dt.year
    return years.isna() | years.between(FIRST_YEAR, LAST_YEAR)


def _unique(values: pd.Series) -> pd.Series:
    """Where an id is the first of its kind; 7 and "7" are one (`core.row_tensors.identity`)."""
    import pandas as pd

    if values.dtype == object and not _text_alone(values):
        cells = [identity(cell) for cell in values.tolist()]
        values = pd.Series(cells, index=values.index, dtype=object)
    return ~values.duplicated(keep="first") | values.isna()


def _all(values: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(True, index=values.index)
