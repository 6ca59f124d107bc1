"""Records of rejected entries: a file beside the spool's for each entry that was dropped.

The file is the decision. Once it is there, whole, whoever sends the folder tags the run with what it lacks and passes
over the entry, also when the cursor is lost. We never remove it: somebody looks at it and removes the folder.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.core.system.files import write_whole
from fullcircle.tracking.spool.spool_file import Artifact, Entry, Inputs, Params, Points, Status, Tags

REJECTED_TAG = "fullcircle.left_out"
"""Tag of a run: what it lacks, because the tracker refused it and somebody gave it up."""
LONGEST_TAG = 4000
"""Characters: every version of MLflow takes a tag of that length."""
_MORE = "; and more"
_NAMED = 5
_NAME = re.compile(r"[^.].*\.spool\.left-out-(\d+)")  # none that begins with a dot: a file that is being written


@dataclass(frozen=True, kw_only=True)
class RejectedEntry:
    """Something that a run logged and its tracker will not have.

    Attributes:
        what: in words, as in the run's tag.
        why: what the tracker said.
        kept: where it lies on this machine: the file that says all this, and an artifact's bytes.
    """

    what: str
    why: str
    kept: tuple[str, ...]

    def __str__(self) -> str:
        return f"left out: {self.what}, kept in {' and '.join(self.kept)}"


class RejectionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The file `<name>.spool.left-out-<offset of the entry>`.

    Attributes:
        what, why: as of `RejectedEntry`.
        until: offset behind the entry.
        entry: what of it the tracker refused, readable and in full; numbers of points as text, for some are none.
        artifact: where an artifact's bytes lie below the folder, or "".
        crc32: of all the rest. A digit of `until` that flipped would pass over what was never sent.
    """

    what: str
    why: str
    until: int
    entry: dict[str, Any]
    artifact: str = ""
    crc32: int = 0


def save(file: Path, start: int, until: int, refused: Entry, why: str) -> None:
    """Decide that an entry of a spool file is left out: from now on it is passed over. Raises OSError.

    Args:
        start, until: offsets before and behind the entry.
        refused: the entry, or what of it the tracker refused; it has the rest.
    """
    artifact = refused.file if isinstance(refused, Artifact) else ""
    left = RejectionRecord(what=_described(refused), why=why, until=until, entry=_plain(refused), artifact=artifact)
    whole = msgspec.structs.replace(left, crc32=_checksum(left))
    path = file.with_name(f"{file.name}.left-out-{start}")
    write_whole(path, msgspec.json.format(msgspec.json.encode(whole)), durable=True)


def load(file: Path) -> dict[int, RejectionRecord]:
    """What was left out of one spool file, by the offset of the entry. Of a damaged decision it knows nothing: the
    entry is tried again."""
    found = {int(match[1]): _read(path) for path, match in _files(file.parent, file.name)}
    return {start: left for start, left in found.items() if left is not None}


def rejected_entries(folder: Path) -> tuple[RejectedEntry, ...]:
    """All that was left out of a spool folder."""
    return tuple(_missing(folder, path) for path, _ in sorted(_files(folder), key=lambda each: int(each[1][1])))


def with_what(present: str, what: str) -> str:
    """The tag's text with this in it, once. The text is not longer than `LONGEST_TAG`."""
    if present.endswith(_MORE) or f"; {what}; " in f"; {present}; ":
        return present
    text = f"{present}; {what}" if present else what
    return text if len(text) <= LONGEST_TAG - len(_MORE) else text[: LONGEST_TAG - len(_MORE)] + _MORE


def _files(folder: Path, of_file: str = "") -> list[tuple[Path, re.Match[str]]]:
    found = ((path, _NAME.fullmatch(path.name)) for path in folder.glob(f"{of_file}*.left-out-*"))
    return [(path, match) for path, match in found if match]


def _missing(folder: Path, path: Path) -> RejectedEntry:
    left = _read(path)
    if left is None:
        return RejectedEntry(what="an entry, of which the file that says it is damaged", why="", kept=(str(path),))
    bytes_ = (str(folder / left.artifact),) if left.artifact and (folder / left.artifact).exists() else ()
    return RejectedEntry(what=left.what, why=left.why, kept=(str(path), *bytes_))


def _read(path: Path) -> RejectionRecord | None:
    try:
        left = msgspec.json.decode(path.read_bytes(), type=RejectionRecord)
    except (OSError, msgspec.DecodeError):
        return None
    return left if left.crc32 == _checksum(msgspec.structs.replace(left, crc32=0)) else None


def _checksum(left: RejectionRecord) -> int:
    return zlib.crc32(msgspec.json.encode(left))


def _plain(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Points):
        names = ("metric", "value", "at_ms", "step")
        return {
            "points": [
                dict(zip(names, (key, repr(value), at_ms, step), strict=True))
                for key, value, at_ms, step in entry.points()
            ]
        }
    return {type(entry).__name__.lower(): msgspec.structs.asdict(entry)}


def _described(entry: Entry) -> str:
    match entry:
        case Points():
            points = entry.points()
            steps = sorted({step for _, _, _, step in points})
            span = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
            count = "1 point" if len(points) == 1 else f"{len(points):,} points"
            return f"{count} of {_names(key for key, *_ in points)} ({span})"
        case Params():
            return f"parameters {_names(entry.values)}"
        case Tags():
            return f"tags {_names(entry.values)}"
        case Inputs():
            return f"dataset {entry.name}"
        case Artifact():
            name = Path(entry.file).name
            return f"artifact {f'{entry.folder}/{name}' if entry.folder else name} ({entry.size:,} bytes)"
        case Status():
            return f"its status {entry.status}"


def _names(names: Iterable[str]) -> str:
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
    return ", ".join(each[:_NAMED]) + more
