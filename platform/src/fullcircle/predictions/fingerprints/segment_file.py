"""The file beside a segment that holds its fingerprints: `<segment's name>.fingerprint`.

A framed log (`core.framed_log`) of one frame, checksummed. It says of which segment it is, of which contract, and in
which format: whoever finds none, or one of something else, makes it anew from the segment. So nothing is lost with it.
"""

from __future__ import annotations

import logging
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fullcircle.core.errors import FormatTooNew
from fullcircle.core.framed_log.frames import FrameWriter
from fullcircle.core.framed_log.frames import read as read_frames
from fullcircle.core.framed_log.layout import FileKind
from fullcircle.core.system.files import replacing
from fullcircle.predictions import parquet_segments
from fullcircle.predictions.fingerprints.build import fingerprints_of
from fullcircle.predictions.fingerprints.contract import Contract
from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

FORMAT = 2
"""One more whenever a fingerprint says something else of the same rows."""
KIND = FileKind(magic=b"fcfp")
_TAIL = 4096


class SegmentPrint(msgspec.Struct, frozen=True, array_like=True):
    """What the file says.

    Attributes:
        segment: `mark` of the segment that it is of.
        contract: digest of the contract that it is of.
        replaces: names of the files whose rows the segment holds, see `parquet_segments.replaced`.
        versions: model version -> fingerprint.
    """

    format: int
    segment: tuple[int, int]
    contract: int
    replaces: tuple[str, ...]
    versions: dict[str, LogFingerprint]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SegmentPrint).decode


def beside(segment: Path) -> Path:
    """Where the fingerprints of a segment lie."""
    return segment.with_suffix(parquet_segments.FINGERPRINT)


def mark(path: Path) -> tuple[int, int]:
    """What tells a file from another of its name: its size, and a checksum of its end, which in Parquet's footer says
    where all the rest lies. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        return size, zlib.crc32(file.read())


def read(segment: Path, contract: Contract) -> SegmentPrint | None:
    """The fingerprints of a segment; None where there are none that are whole, of this segment and of this contract.

    Raises:
        FileNotFoundError: the segment is not there.
    """
    of, file = mark(segment), beside(segment)
    try:
        payloads = read_frames(file, KIND).payloads
        found = _decode(payloads[0][0]) if payloads else None
    except FileNotFoundError:
        return None
    except FormatTooNew:  # a newer version's, which it makes again where it finds ours
        return None
    except (OSError, msgspec.MsgspecError) as error:
        _say_damaged(file, str(error))
        return None
    if found is None:
        _say_damaged(file, "no whole frame is in it")
        return None
    if (found.format, found.segment, found.contract) != (FORMAT, of, contract.digest):
        return None
    return found


def _say_damaged(file: Path, why: str) -> None:
    logger.warning("%s is damaged (%s): it is made again from the rows of its segment", file, why)


def has_repeats(segment: Path, contract: Contract) -> bool:
    """Whether a row id may have been answered twice in a segment: not, if its fingerprint says so.

    Raises:
        FileNotFoundError: the segment is not there.
    """
    known = read(segment, contract)
    return known is None or any(each.superseded for each in known.versions.values())


def make(segment: Path, rows: pa.Table, contract: Contract) -> SegmentPrint:
    """The fingerprints of a segment's rows. Raises FileNotFoundError."""
    return SegmentPrint(
        format=FORMAT,
        segment=mark(segment),
        contract=contract.digest,
        replaces=parquet_segments.replaced(rows.schema),
        versions=fingerprints_of(rows, contract),
    )


def write(segment: Path, found: SegmentPrint) -> None:
    """Put the file beside its segment, whole. Raises OSError."""
    with replacing(beside(segment)) as part:
        part.unlink(missing_ok=True)
        writer = FrameWriter(part, KIND)
        try:
            writer.append(_encode(found))
        finally:
            writer.close()


def sealed(segment: Path, rows: pa.Table, contract: Contract) -> None:
    """Write the fingerprints of a segment that was just sealed. Never raises: the log does not depend on them, and
    whoever misses them makes them."""
    try:
        write(segment, make(segment, rows, contract))
    except Exception as error:  # noqa: BLE001  # a row that is odd to a sketch must not keep its segment unsealed
        logger.warning("%s: no fingerprint was written (%s); the next watch makes it", segment, error)
