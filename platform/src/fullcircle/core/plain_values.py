"""Plain values: texts and integers that every library on their way keeps as they are."""

from __future__ import annotations

import numbers
from decimal import Decimal

LONGEST_TEXT = 1024
"""Most characters of a category or an id, in a file as in a request."""

EXACT = 2**53
"""The largest integer up to which float64 holds every one. A larger one is refused as a number, and kept as an id."""


def is_inexact(value: object) -> bool:
    """Whether a value is a whole number beyond 2^53, as an integer or as a decimal that a database has for one."""
    if isinstance(value, Decimal):
        return value.is_finite() and abs(value) > EXACT and value == value.to_integral_value()
    return isinstance(value, numbers.Integral) and abs(int(value)) > EXACT


def double(value: object) -> float:
    """A number as a double; one that is too large is infinite, what is none is missing."""
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return float("nan")


def text_fault(text: str) -> str:
    """What is wrong with a category or an id, in a file as in a request: "must ..."; "" when nothing is.

    A NUL ends a string for half of the libraries between a database's `CHAR(n)` and a graph: two texts would be one
    here and two there. All else is kept as it is, trailing spaces and Unicode's normal forms included.
    """
    if len(text) > LONGEST_TEXT:
        return f"must have at most {LONGEST_TEXT} characters, got {len(text)}"
    if "\0" in text:
        return "must not have NUL characters (\\0), which pad a database's CHAR(n): strip them"
    return "" if encodes(text) else "must be valid Unicode, got half a surrogate pair"


def encodes(text: str) -> bool:
    """Whether the text is valid Unicode: no half of a surrogate pair in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
