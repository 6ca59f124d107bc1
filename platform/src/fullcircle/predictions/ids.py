"""Prediction ids: UUIDs of version 7, so that the order of ids is the order in which answers were given."""

from __future__ import annotations

import re
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

RANDOM_BITS = 74
_LOW_BITS = 62
_VERSION, _VARIANT = 7, 0b10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"[0-9a-f]{1,32}")


class PredictionIds:
    """Makes ids that never repeat and always rise within this process, even when the clock steps back.

    Source: RFC 9562, section 5.7 (UUIDv7) and 6.2, method 2 (monotonic random). Threads may share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0

    def take(self, count: int) -> list[str]:
        """`count` new ids, rising."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                # The top bit stays free, so that one millisecond has room for 2^73 steps.
                self._counter = secrets.randbits(RANDOM_BITS - 1)
            step = 1 + secrets.randbits(32)
            first = self._counter + step
            self._counter += step * count
            if self._counter >> RANDOM_BITS:  # used up: borrow the next millisecond
                self._millisecond += 1
                first = secrets.randbits(RANDOM_BITS - 1)
                self._counter = first + step * (count - 1)
            millisecond = self._millisecond
        return [_text(millisecond, first + step * index) for index in range(count)]


def canonical_id(text: str) -> str:
    """An id, or the beginning of one, as the log has it: other programs print ids without dashes, or in capitals.

    A text that cannot be one comes back in small letters, without the spaces around it.
    """
    told = text.strip().lower()
    digits = told.replace("-", "")
    return _dashed(digits) if _DIGITS.fullmatch(digits) else told


def time_of_id(prediction_id: str) -> datetime:
    """When an id was made, to the millisecond. Raises ValueError when the text is no UUID."""
    return _EPOCH + timedelta(milliseconds=int(prediction_id.replace("-", "")[:12], 16))


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly (`timestamp()` is a float and is not)."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """The moment so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _text(millisecond: int, counter: int) -> str:
    high, low = counter >> _LOW_BITS, counter & ((1 << _LOW_BITS) - 1)
    value = (millisecond << 80) | (_VERSION << 76) | (high << 64) | (_VARIANT << 62) | low
    return _dashed(f"{value:032x}")


def _dashed(digits: str) -> str:
    groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(group for group in groups if group)
