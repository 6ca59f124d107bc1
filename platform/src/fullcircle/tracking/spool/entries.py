"""What a frame of the spool says: points, parameters, tags, artifacts, inputs, and how the run ended. Pure."""

from __future__ import annotations

import msgspec

from fullcircle.core.errors import SpoolTooNew

Point = tuple[str, float, int, int]
"""(metric, value, milliseconds since the epoch, step). The time is that of its making and never changes: MLflow takes a
point with the same time, step and value for the same one, so that sending it again does not double it."""


Row = tuple[dict[str, float], int, int]
"""What one call told: (metrics, milliseconds since the epoch, step). It is written as it came: taking it apart is the
sender's work, not the training's."""


class Points(msgspec.Struct, tag="points", array_like=True, frozen=True):
    """Points of metrics, at most 1,000: what MLflow takes in one request."""

    rows: list[Row]

    def points(self) -> list[Point]:
        """Each of them."""
        return [(key, value, at_ms, step) for values, at_ms, step in self.rows for key, value in values.items()]

    def __len__(self) -> int:
        return sum(len(values) for values, _, _ in self.rows)


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
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """An entry as the payload of a frame."""
    return _encoder.encode(entry)


def decode(payload: bytes) -> Entry:
    """The entry of a payload. Raises SpoolTooNew when it is none of this version's."""
    try:
        entry: Entry = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise SpoolTooNew(
            f"a spool holds an entry that this version does not know ({error})",
            hint="send it with the version of fullcircle that wrote it, or a newer one",
        ) from error
    return entry
