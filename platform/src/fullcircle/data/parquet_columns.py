"""Converts Parquet columns to columns of a frame: every value as it was, or a sentence. Pure.

Integers stay integers where a value is missing, texts share their memory, times are moments in UTC or stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fullcircle.data.parquet_footers import is_moment

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

_UTC = {"UTC", "Etc/UTC", "GMT", "Z", "+00:00"}


def moments(times: pa.ChunkedArray, *, naive_is_utc: bool = False) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """A column of times as microseconds in UTC, and what is to be said of that; what is no moment stays as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, notes = times.type, []
    if naive_is_utc and isinstance(kind, pa.TimestampType) and kind.tz is None:
        times, kind = pc.assume_timezone(times, "UTC"), pa.timestamp(kind.unit, tz="UTC")
        notes.append("has no timezone; it is taken for UTC, as it was then")
    if not is_moment(kind):
        return times, ()
    if kind.tz not in _UTC:
        notes.append(f"is in {kind.tz}: the same moments are read in UTC")
    whole = times
    if kind.unit == "ns" and pc.any(pc.greater(pc.nanosecond(times), 0)).as_py():
        whole = pc.floor_temporal(times, unit="microsecond")
        notes.append("has parts of a microsecond, which are cut off")
    try:
        return whole.cast(pa.timestamp("us", tz="UTC")), tuple(notes)
    except pa.ArrowInvalid:  # thousands of centuries away: the data contract will name the rows
        return whole, tuple(notes)


def cut(
    columns: Mapping[str, pa.ChunkedArray], time: str, since: datetime | None, until: datetime | None
) -> dict[str, pa.ChunkedArray]:
    """The rows from `since` to before `until`, and those without a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = columns[time]
    if (since is None and until is None) or times.type != pa.timestamp("us", tz="UTC"):
        return dict(columns)
    kept = pa.chunked_array([pa.repeat(True, len(times))])
    if since is not None:
        kept = pc.and_(kept, pc.greater_equal(times, pa.scalar(since, times.type)))
    if until is not None:
        kept = pc.and_(kept, pc.less(times, pa.scalar(until, times.type)))
    kept = pc.fill_null(kept, fill_value=True)
    if pc.all(kept).as_py() in (True, None):
        return dict(columns)
    return {name: values.filter(kept) for name, values in columns.items()}


def series(
    parts: Sequence[pa.ChunkedArray | None], lengths: Sequence[int], files: Sequence[str]
) -> tuple[pd.Series[Any], tuple[str, ...]]:
    """One column of several files (None: a file that does not have it), and what is to be said of it."""
    import pandas as pd
    import pyarrow as pa

    notes = []
    lacking = [(file, rows) for file, part, rows in zip(files, parts, lengths, strict=True) if part is None and rows]
    if lacking:
        rows = sum(count for _, count in lacking)
        notes.append(f"is not in {_files([file for file, _ in lacking])}: {rows:,} rows have no value of it")
    there = [pa.nulls(rows) if part is None else _plain(part) for part, rows in zip(parts, lengths, strict=True)]
    arrays = [part if isinstance(part, pa.ChunkedArray) else pa.chunked_array([part]) for part in there]
    kinds: dict[str, str] = {}
    for file, part in zip(files, arrays, strict=True):
        if part.null_count < len(part):
            kinds.setdefault(_kind(part.type), file)
    if len(kinds) > 1:
        notes.append(f"is of several kinds: {', '.join(f'{kind} in {file}' for kind, file in kinds.items())}")
    arrays = [part for part in arrays if len(part)] or arrays[:1]
    made = _together(arrays)
    if made is None:  # each in its own type: the data contract is to see what there is
        seen: dict[str, str] = {}
        cells = [_values(part, seen).astype(object) for part in arrays]
        made = pd.concat(cells, ignore_index=True)
    return made, tuple(notes)


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries of anything but texts as the values themselves, and moments in UTC."""
    import pyarrow as pa

    if is_moment(values.type):  # pandas 2.3 dies of the year 1 in New York, which is the year 0
        return values.cast(pa.timestamp(values.type.unit, tz="UTC"))
    if isinstance(values.type, pa.DictionaryType) and not is_text(values.type):
        return pa.chunked_array([chunk.dictionary_decode() for chunk in values.chunks], values.type.value_type)
    return values


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text, as itself or as a dictionary of texts."""
    import pyarrow as pa

    inner = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def _kind(kind: pa.DataType) -> str:
    import pyarrow as pa

    types = pa.types
    if is_text(kind):
        return "text"
    if types.is_boolean(kind):
        return "true or false"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    return str(kind)


def _together(parts: Sequence[pa.ChunkedArray]) -> pd.Series[Any] | None:
    """All parts in one type that holds each value exactly; None when there is none."""
    import pandas as pd
    import pyarrow as pa

    kinds = list(dict.fromkeys(part.type for part in parts if not pa.types.is_null(part.type)))
    if all(is_text(kind) for kind in kinds) and kinds:
        seen: dict[str, str] = {}
        made: pd.Series[Any] = pd.concat([_values(part, seen) for part in parts], ignore_index=True)
        return made
    for kind in _candidates(kinds):
        try:
            chunks = [chunk for part in parts for chunk in part.cast(kind).chunks]  # a safe cast: exactly or not at all
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        return _values(pa.chunked_array(chunks, kind), {})
    return None


def _candidates(kinds: Sequence[pa.DataType]) -> tuple[pa.DataType, ...]:
    import pyarrow as pa

    if len(kinds) <= 1:
        return tuple(kinds) or (pa.null(),)
    if all(pa.types.is_integer(kind) for kind in kinds):
        return (pa.int64(), pa.uint64())
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return (pa.float64(),)
    return ()


def _values(values: pa.ChunkedArray, seen: dict[str, str]) -> pd.Series[Any]:
    """Exactly these values as a column; `seen` has one copy of each text."""
    import pandas as pd
    import pyarrow as pa

    kind = values.type
    if is_text(kind):
        return pd.Series(_texts(values, seen), dtype=object)
    # With a gap pandas would make floats of integers, and objects of what is true or false.
    holed = values.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind))
    found: pd.Series[Any] = values.to_pandas(types_mapper=_nullable if holed else None)
    return found.rename(None)


def _nullable(kind: pa.DataType) -> Any:
    import pandas as pd

    name = str(kind)
    if name == "bool":
        return pd.BooleanDtype()
    return pd.api.types.pandas_dtype(f"UI{name[2:]}" if name.startswith("u") else f"I{name[1:]}")  # uint8, int64


def _texts(values: pa.ChunkedArray, seen: dict[str, str]) -> NDArray[np.object_]:
    """Texts as str, None where missing. One str for all rows that have the same."""
    import numpy as np
    import pyarrow.compute as pc

    parts = []
    for chunk in values.chunks:
        coded = chunk if hasattr(chunk, "dictionary") else pc.dictionary_encode(chunk)
        words = [None if word is None else seen.setdefault(word, word) for word in _words(coded.dictionary)]
        lookup = np.array([*words, None], dtype=object)
        parts.append(lookup[coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts) if parts else np.empty(0, dtype=object)


def _words(texts: pa.Array) -> list[str | None]:
    """Texts as str. Bytes that are no UTF-8 become halves of surrogate pairs, which the data contract refuses."""
    import pyarrow as pa

    try:
        return list(texts.to_pylist())
    except UnicodeDecodeError:
        raw = texts.cast(pa.large_binary() if pa.types.is_large_string(texts.type) else pa.binary()).to_pylist()
        return [None if word is None else word.decode("utf-8", "surrogateescape") for word in raw]


def _files(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files ({names[0]} to {names[-1]})"
