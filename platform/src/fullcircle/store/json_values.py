"""Values as JSON: dataclasses, datetimes, enums, paths and numpy scalars in, plain JSON out. Pure."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any


def to_plain(value: Any) -> Any:
    """The value in JSON's own types. Datetimes become ISO 8601, timedeltas seconds, NaN and infinity null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return to_plain(value.value)
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): to_plain(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(each) for each in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return to_plain(value.tolist())
    return str(value)


def to_json(value: object) -> str:
    """`plain(value)` as indented JSON text, ending with a newline."""
    return json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
