"""Validation of dataclass fields: a range is part of a field's type, and one validator reads it.

    epochs: Annotated[int, Within(1, 1_000_000)] = 20
    known: tuple[Annotated[str, Legible()], ...] | Literal["learn"] = "learn"

A dataclass of the contract calls `check_fields` when it is made, so that no value out of range exists: neither from
project.py, nor by `--set`, in a search, for one framework alone, or read back from an old run. Every range is finite:
what a framework would take for infinite, or wrap around, is outside. What is a tuple may be given as anything in order,
but not as a set, whose order is another one in each process, and not as one text.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from numbers import Integral
from typing import Annotated, Any, Literal, cast

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.plain_values import EXACT, LONGEST_TEXT, encodes

SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Within:
    """The values of a field: from `low` to `high`, both included.

    Attributes:
        above, below: leave `low`, or `high`, itself out.
    """

    low: Any
    high: Any
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Whether the value is inside; NaN never is."""
        return bool(
            (self.low < value if self.above else self.low <= value)
            and (value < self.high if self.below else value <= self.high)
        )

    def __str__(self) -> str:
        if not (self.above or self.below):
            return f"from {self.low} to {self.high}"
        low = f"above {self.low}" if self.above else f"of at least {self.low}"
        return f"{low} and {'below' if self.below else 'at most'} {self.high}"


@dataclass(frozen=True)
class Legible:
    """Texts that name something and that every file can hold: columns, categories, classes.

    Attributes:
        shortest, longest: fewest and most characters.
    """

    shortest: int = 1
    longest: int = LONGEST_TEXT

    def holds(self, value: Any) -> bool:
        """Whether the text is one of them."""
        return self.shortest <= len(value) <= self.longest and encodes(value)

    def __str__(self) -> str:
        return f"of {self.shortest} to {self.longest:,} characters of valid Unicode"


SMALLEST, LARGEST = 1e-30, 1e30
"""What a factor of training may be: outside, it is 0 or infinite as soon as it meets a float32."""
CENTURY = timedelta(days=36_525)
NUMBERS = 1_000_000
"""Most of what is counted by hand: epochs, looks, retrains."""

Span = Annotated[timedelta, Within(timedelta(0), CENTURY, above=True)]
Delay = Annotated[timedelta, Within(timedelta(0), CENTURY)]
Count = Annotated[int, Within(1, NUMBERS)]
Share = Annotated[float, Within(0.0, 1.0)]
Positive = Annotated[float, Within(0.0, 1e9, above=True)]
Seconds = Annotated[float, Within(0.0, 1e9, above=True)]
Score = Annotated[float, Within(0.0, 3.4e38)]
"""A difference of two values of a metric: of an error in the unit of its target as large as that target may be."""
Float32 = Annotated[float, Within(-3.4e38, 3.4e38)]
Name = Annotated[str, Legible()]
Whole = Annotated[int, Within(-EXACT, EXACT)]
"""A whole number that is the same one as a float64."""


def check_fields(value: Any, called: str) -> None:
    """Refuse what does not fit its field's type; numbers and texts of numpy's become Python's own, a list a tuple.

    Args:
        value: a frozen dataclass, whole.
        called: what the user calls it, such as `training`.

    Raises:
        ProjectInvalid: which field, what it must be, what it got.
    """
    for field in fields(value):
        given = settled(value, field.name)
        if (must := misfit(type(value), field.name, given)) is not None:
            raise ProjectInvalid(f"{called}.{field.name} must be {must}, got {shown(given)}")


def settled(value: Any, field: str) -> Any:
    """What a field was given, and has from now on: numbers and texts of numpy's as Python's own, a tuple where it is
    one that was given as something else in order.
    """
    given, kind = getattr(value, field), cast(type, type(value))
    is_tuple = any(typing.get_origin(_parted(each)[0]) is tuple for each in alternatives(hints(kind)[field]))
    in_order = isinstance(given, Iterable) and not isinstance(given, str | bytes | set | frozenset | Mapping)
    plain = tuple(map(_plain, given)) if is_tuple and in_order else _plain(given)
    if plain is not given:
        object.__setattr__(value, field, plain)
    return plain


def _plain(value: Any) -> Any:
    if type(value).__module__ != "numpy":
        return value
    for kind, own in ((str, str), (float, float), (Integral, int)):
        if isinstance(value, kind):
            return own(value)
    return value


def misfit(kind: type, field: str, value: object) -> str | None:
    """What a field of this dataclass must be, and this value is not; None where it fits, or nothing is said of it."""
    hint = hints(kind)[field]
    rules = [rule for alternative in alternatives(hint) if (rule := _rule(alternative)) is not None]
    if len(rules) < len(list(alternatives(hint))) or any(fits(value) for fits, _ in rules):
        return None
    return " or ".join(words for _, words in rules)


def ranged(kind: type) -> Iterator[tuple[str, Within | None]]:
    """(field, its range) of each field of a dataclass that holds a number or a span of time; None: it has no range."""
    for field, hint in hints(kind).items():
        for alternative in alternatives(hint):
            plain, within = _parted(alternative)
            if plain in (int, float, timedelta):
                yield field, within if isinstance(within, Within) else None


@functools.cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with what `Annotated` says of them."""
    found = typing.get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in fields(kind)}


def alternatives(hint: Any) -> Iterator[Any]:
    """The types of a union; a type that is none alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        yield from typing.get_args(hint)
    else:
        yield hint


def shown(value: object) -> str:
    """A value for one line, however large it is."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a huge integer"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


_Rule = tuple[Callable[[Any], bool], str]


def _rule(hint: Any) -> _Rule | None:
    """(what fits this type, in words); None for a type of which nothing is known here."""
    plain, within = _parted(hint)
    if typing.get_origin(plain) is tuple:
        return _rule_of_tuple(typing.get_args(plain))
    if typing.get_origin(plain) is Mapping:
        return (lambda value: isinstance(value, Mapping)), "a mapping"
    if typing.get_origin(plain) is Literal:
        choices = typing.get_args(plain)
        return (lambda value: any(value == each and type(value) is type(each) for each in choices)), (
            f"one of {', '.join(map(str, choices))}"
        )
    simple: dict[Any, _Rule] = {
        int: (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
        float: (_is_number, "a number"),
        timedelta: (lambda value: isinstance(value, timedelta), "a timedelta"),
        bool: (lambda value: isinstance(value, bool), "true or false"),
        str: (lambda value: isinstance(value, str), "text"),
        type(None): (lambda value: value is None, "null"),
    }
    if dataclasses.is_dataclass(plain):
        kind = cast(type, plain)
        return (lambda value: isinstance(value, kind)), f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
    if plain not in simple:
        return None
    fits, words = simple[plain]
    if within is None:
        return fits, words
    return (lambda value: fits(value) and within.holds(value)), f"{words} {within}"


def _rule_of_tuple(members: tuple[Any, ...]) -> _Rule | None:
    """Of `tuple[X, ...]`, or of as many as are named."""
    kinds = [list(alternatives(member)) for member in members if member is not Ellipsis]
    rules = [[_rule(alternative) for alternative in kind] for kind in kinds]
    if any(rule is None for each in rules for rule in each):
        return None
    known = [[rule for rule in each if rule is not None] for each in rules]
    words = " or ".join(said for _, said in known[0])

    def one(value: Any, position: int) -> bool:
        return any(fits(value) for fits, _ in known[position])

    if members[-1] is Ellipsis:
        return (
            lambda value: isinstance(value, tuple) and all(one(each, 0) for each in value)
        ), f"a list in which each is {words}"
    return (
        lambda value: isinstance(value, tuple) and len(value) == len(known) and all(map(one, value, range(len(value))))
    ), f"a list of {len(known)} in which each is {words}"


def _parted(hint: Any) -> tuple[Any, Within | Legible | None]:
    """A type, and the range that `Annotated` gives it."""
    if typing.get_origin(hint) is not Annotated:
        return hint, None
    plain, *said = typing.get_args(hint)
    return plain, next((each for each in said if isinstance(each, Within | Legible)), None)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) or (isinstance(value, float) and math.isfinite(value))
