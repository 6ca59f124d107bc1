"""The search space of hyperparameter tuning: uniform, log-uniform, integer and categorical ranges."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fullcircle.core.field_ranges import misfit, shown

if TYPE_CHECKING:
    from fullcircle.core.project.parameters import Training


_FRAMEWORKS = ("baseline", "torch", "keras")
_NEVER = {
    "seed": "a seed that happens to be lucky is no better model",
    "extra": "what it holds is named directly, as training.<name>",
}
_END = sys.float_info.max


@dataclass(frozen=True)
class Uniform:
    """Any number from `low` to `high`, all equally likely. Raises ValueError unless they are finite and in order."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _in_order(self, self.low, self.high)
        for name in ("low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}"

    @property
    def extremes(self) -> tuple[float, ...]:
        """The values that every other one lies between."""
        return self.low, self.high

    def holds(self, value: object) -> bool:
        """Whether the range has this value."""
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Any number from `low` to `high`, each order of magnitude equally likely. Raises ValueError unless above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, self.low)

    def __str__(self) -> str:
        return f"log:{self.low!r}..{self.high!r}"


@dataclass(frozen=True)
class Integer:
    """Any whole number from `low` to `high`, both included; `log`: each order of magnitude equally likely.

    Raises ValueError unless they are whole and in order.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for value in (self.low, self.high):
            if type(value) is not int:  # a bool is one, too
                raise ValueError(f"Integer: its ends must be whole numbers, got {value!r}")
            if abs(value) >= 2**63:
                raise ValueError(f"Integer: its ends must have 64 bits at most, got {shown(value)}")
        _in_order(self, self.low, self.high)
        if self.log:
            _above_zero(self, self.low)

    def __str__(self) -> str:
        return f"{'log:' if self.log else ''}{self.low}..{self.high}"

    @property
    def extremes(self) -> tuple[int, ...]:
        """The values that every other one lies between."""
        return self.low, self.high

    def holds(self, value: object) -> bool:
        """Whether the range has this value."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, init=False)
class Choice:
    """One of these values: `Choice(32, 64)`, `Choice((64,), (128, 64))`. They are plain: what JSON can say.

    Raises ValueError for fewer than two, for equal ones, and for what is not plain.
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)
        try:
            texts = self.texts
        except (TypeError, ValueError) as error:
            raise ValueError(f"Choice: its values must be plain, as JSON has them ({error})") from error
        if len(set(texts)) != len(texts) or len(texts) < 2:
            raise ValueError(f"Choice: it must have two or more different values, got {list(values)!r}")

    def __str__(self) -> str:
        return f"[{', '.join(self.texts)}]"

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as JSON: lists, too, can then be told apart and written down."""
        return tuple(json.dumps(value, allow_nan=False) for value in self.values)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def holds(self, value: object) -> bool:
        """Whether this is one of them."""
        try:
            return json.dumps(value, allow_nan=False) in self.texts
        except (TypeError, ValueError):
            return False


Range = Uniform | Integer | Choice
"""What one parameter may be."""

Search = Mapping[str, Range]
"""`training.<name>` -> what it may be."""

_Refuse = Callable[[str, str, object], None]


def check_search(search: Mapping[str, Any], training: Training, refuse: _Refuse) -> None:
    """Refuse what no search could be made of; `refuse(name, must, got)` raises."""
    for name, each in search.items():
        if (why := why_not_searchable(name, training)) is not None:
            refuse("search", f"{why[0]} ({why[1]})", name)
        if not isinstance(each, Range):
            refuse(f"search[{name!r}]", "be a Uniform, LogUniform, Integer or Choice", each)
        field = name.partition(".")[2]
        for value in each.extremes if field in {one.name for one in fields(training)} else ():
            if (must := misfit(type(training), field, value)) is not None:
                refuse(f"every value of search[{name!r}]", f"be {must}", value)


def why_not_searchable(name: object, training: Training) -> tuple[str, str] | None:
    """(what a name of a parameter to search must do and this one does not, a hint); None when it may be searched."""
    names = [f.name for f in fields(training) if f.name not in _NEVER]
    names += [key for key in training.extra if key not in _FRAMEWORKS]
    kind, _, field = str(name).partition(".")
    if kind == "training" and field in _NEVER:
        return f"not be training.{field}", _NEVER[field]
    if kind == "training" and field in names:
        return None
    near = difflib.get_close_matches(field or kind, names, n=3, cutoff=0.5)
    listed = ", ".join(f"training.{each}" for each in near or names)
    return "be a parameter of training", f"did you mean {listed}?" if near else f"there are {listed}"


def _in_order(owner: object, low: object, high: object) -> None:
    # An integer beyond float64 is below infinity, too.
    if not (_is_number(low) and _is_number(high) and -_END < low < high < _END):  # type: ignore[operator]
        raise ValueError(
            f"{type(owner).__name__}: low must be below high, both finite, got {shown(low)} and {shown(high)}"
        )


def _above_zero(owner: object, low: float) -> None:
    if low <= 0:
        raise ValueError(f"{type(owner).__name__}: low must be above 0 on a logarithmic scale, got {low!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
