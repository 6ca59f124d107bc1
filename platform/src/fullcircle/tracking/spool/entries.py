"""Record types of the spool: points, parameters, tags, artifacts, inputs, and the run's status. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from fullcircle.core.errors import SpoolTooNew
from fullcircle.core.framed_log.layout import Earlier, FileKind

TOO_NEW = "send it with the version of fullcircle that wrote it, or a newer one"
KIND = FileKind(
    magic=b"fcsp",
    earlier=Earlier(head=b"fcsp\x01\0\0\0\xe8\xd8 \x05", sums_length=True),
    too_new=SpoolTooNew,
    hint=TOO_NEW,
)
"""A spool file, whose payloads are the entries below."""

Point = tuple[str, float, int, int]
"""(metric, value, milliseconds since the epoch, step). The time is that of its making and never changes: MLflow takes a
point with the same time, step and value for the same one, so that sending it again does not double it."""


Names = tuple[str, ...]
Row = tuple[Names, bytes, int, int]
"""What one call logged: (metrics, their values, milliseconds since the epoch, step). Of the values only their bytes are
kept, see `packing`: a training that logs each step fills its processor's caches with whatever is kept for long."""


@lru_cache(maxsize=256)
def packing(count: int) -> struct.Struct:
    """How so many values are kept: float64, little-endian, one behind the other."""
    return struct.Struct(f"<{count}d")


def packed(values: Mapping[str, float]) -> tuple[Names, bytes]:
    """Metrics and their values as a `Row` has them."""
    return tuple(values), packing(len(values)).pack(*values.values())


def unpacked(values: bytes) -> tuple[float, ...]:
    """The values of a `Row`."""
    return packing(len(values) // packing(1).size).unpack(values)


class Points(msgspec.Struct, tag="rows", array_like=True, frozen=True):
    """Points of metrics, at most 1,000: what MLflow takes in one request. Written as they came, a call a row: taking
    them apart is the sender's work, not the training's.

    Attributes:
        names: the different sets of metrics.
        rows: (the set's place in `names`, the values as `packing` has them, milliseconds since the epoch, step).
    """

    names: list[Names]
    rows: list[tuple[int, bytes, int, int]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Points:
        """These rows."""
        places: dict[Names, int] = {}
        last: Names | None = None
        place, found = 0, []
        for names, values, at_ms, step in rows:
            if names is not last:  # a loop hands in the same tuple each time
                place, last = places.setdefault(names, len(places)), names
            found.append((place, values, at_ms, step))
        return cls(list(places), found)

    def points(self) -> list[Point]:
        """Each of them."""
        return [
            (key, value, at_ms, step)
            for place, values, at_ms, step in self.rows
            for key, value in zip(self.names[place], unpacked(values), strict=True)
        ]

    def __len__(self) -> int:
        return sum(len(self.names[place]) for place, *_ in self.rows)


class _Before(msgspec.Struct, tag="points", array_like=True, frozen=True):
    """Points as they were written before they were packed; spools that wait may hold some."""

    rows: list[tuple[dict[str, float], int, int]]


class Params(msgspec.Struct, tag="params", array_like=True, frozen=True):
    """Parameters as text."""

    values: dict[str, str]


class Tags(msgspec.Struct, tag="tags", array_like=True, frozen=True):
    """Tags of the run."""

    values: dict[str, str]


class Inputs(msgspec.Struct, tag="inputs", array_like=True, frozen=True):
    """A dataset that the run used, in MLflow's fields."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str
    context: str


class Artifact(msgspec.Struct, tag="artifact", array_like=True, frozen=True):
    """A file that is kept in the spool until the tracker has it.

    Attributes:
        file: its path below the spool's folder.
        folder: the folder within the run; "" for its root.
        sha256: hexadecimal digest of its bytes.
        size: in bytes.
    """

    file: str
    folder: str
    sha256: str
    size: int


class Status(msgspec.Struct, tag="status", array_like=True, frozen=True):
    """How the run ended, or that it was paused (SCHEDULED); the time in milliseconds since the epoch."""

    status: str
    at_ms: int


Entry = Points | Params | Tags | Inputs | Artifact | Status

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry | _Before)


def encode(entry: Entry) -> bytes:
    """An entry as the payload of a frame."""
    return _encoder.encode(entry)


def decode(payload: bytes) -> Entry:
    """The entry of a payload. Raises SpoolTooNew when it is none of this version's."""
    try:
        entry: Entry | _Before = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise SpoolTooNew(
            f"a spool holds an entry that this version does not know ({error})",
            hint=TOO_NEW,
        ) from error
    if isinstance(entry, _Before):
        return Points.of((*packed(values), at_ms, step) for values, at_ms, step in entry.rows)
    return entry
