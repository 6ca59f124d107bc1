"""Cost of computing: prices in money, and watts where nothing measures them. `core.settings` reads both."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fullcircle.core.errors import UsageError
from fullcircle.core.field_ranges import Within, check_fields, misfit, shown

Rate = Annotated[float, Within(0.0, 1e9)]


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A price table; a price of 0 is one that nobody told, and with all of them 0 no cost is shown.

    Attributes:
        currency: three letters, as ISO 4217 has them.
        cpu_core_hour: an hour of one busy processor core.
        gpu_hour: an hour of one GPU.
        kwh: a kilowatt hour of electricity; leave it 0 where the hourly prices hold it already, as a cloud's do.
    """

    currency: str = "EUR"
    cpu_core_hour: Rate = 0.0
    gpu_hour: Rate = 0.0
    kwh: Rate = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "prices")

    @property
    def is_set(self) -> bool:
        """Whether any price is known."""
        return bool(self.cpu_core_hour or self.gpu_hour or self.kwh)


@dataclass(frozen=True, kw_only=True)
class Watts:
    """Power of what has no meter of its own, for an estimate of energy.

    Attributes:
        cpu_core: one busy core. The default is the average over processors of Green Algorithms (Lannelongue, Grealey
            and Inouye 2021, Advanced Science 8).
        memory_gb: a gigabyte of memory in use; the same source.
        gpu: one GPU at work, where its own meter (NVML) cannot be read.
    """

    cpu_core: Rate = 12.0
    memory_gb: Rate = 0.3725
    gpu: Rate = 300.0

    def __post_init__(self) -> None:
        check_fields(self, "watts")


T = TypeVar("T", Prices, Watts)


def table(kind: type[T], env: Mapping[str, str], name: str) -> T:
    """The table that a variable holds as one JSON object; what it leaves out has the default.

    Raises:
        UsageError: naming the variable, the field, what it must be and what it is.
    """
    text = env.get(name)
    if not text:
        return kind()
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name} must be a JSON object, got {text!r}", hint=f"such as {_example(kind)}") from error
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    if not isinstance(values, dict) or not set(values) <= set(fields):
        raise UsageError(f"{name} may have {', '.join(fields)}, got {text!r}", hint=f"such as {_example(kind)}")
    for key, value in values.items():
        if isinstance(fields[key], str):
            if not (isinstance(value, str) and len(value) == 3 and value.isalpha() and value.isupper()):
                raise UsageError(f"{name}: {key} must be three capital letters, got {value!r}")
        elif (must := misfit(kind, key, value)) is not None:
            raise UsageError(f"{name}: {key} must be {must}, got {shown(value)}")
    return kind(**values)


def _example(kind: type[Prices] | type[Watts]) -> str:
    return json.dumps(dataclasses.asdict(kind()))
