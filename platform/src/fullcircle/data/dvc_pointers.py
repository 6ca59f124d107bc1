"""Parses DVC's `.dvc` pointers and folder objects with care, since they may come from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.data.parquet_footers import footer
from fullcircle.data.partitions import Partition

RESTORE_HINT = "is FULLCIRCLE_DVC_REMOTE the remote that it was pushed to?"
POINTER_HINT = "use the run's own data/<project>.dvc"

_MD5 = re.compile(r"[0-9a-f]{32}")


def md5_of(path: Path) -> str:
    """MD5 of a file's bytes, in hex: DVC's content address, not a signature."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_digest(pointer: str) -> str:
    """The `<md5>.dir` that a `.dvc` file points at. Raises DataUnavailable when it points at no folder."""
    import yaml

    try:
        outs = yaml.safe_load(pointer)["outs"]
        digest = str(outs[0]["md5"])
    except (yaml.YAMLError, TypeError, KeyError, IndexError) as error:
        raise DataUnavailable(f"this is no DVC pointer: {pointer[:80]!r}", hint=POINTER_HINT) from error
    if len(outs) != 1 or not (digest.endswith(".dir") and _MD5.fullmatch(digest[:-4])):
        raise DataUnavailable(f"a DVC pointer to one folder was expected, got {digest!r}", hint=POINTER_HINT)
    return digest


def folder_files(text: bytes, digest: str) -> tuple[tuple[str, str], ...]:
    """(relative path, md5) of each file of a folder object, sorted.

    Raises:
        DataUnavailable: the bytes are not those of `digest`, or a path would lead out of the folder.
    """
    found = hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
    if found != digest:
        what = f"data version {digest}: its list of files has changed (its hash is {found})"
        raise DataUnavailable(what, hint=RESTORE_HINT)
    files = sorted((str(entry["relpath"]), str(entry["md5"])) for entry in json.loads(text))
    for name, md5 in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or not _MD5.fullmatch(md5):
            what = f"data version {digest}: refused its file {name!r}"
            raise DataUnavailable(what, hint="a path must stay in its folder")
    return tuple(files)


@dataclass(frozen=True)
class Contents:
    """What a set of partitions holds, read from the Parquet footers alone where they have statistics."""

    rows: int
    size_bytes: int
    start: datetime
    end: datetime
    fingerprint: str


def contents(project: Project, parts: Sequence[Partition], paths: Sequence[Path]) -> Contents:
    """Rows, bytes, time span and schema fingerprint. Raises DataUnavailable for a file that is not Parquet."""
    import pyarrow.parquet as pq

    rows, size, spans, schemas = 0, 0, [], set()
    for part, path in zip(parts, paths, strict=True):
        try:
            held = footer(path, project.time)
            schema = pq.read_schema(path)
        except DataUnavailable as error:
            raise DataUnavailable(error.what.replace(str(path), str(part.path)), hint=error.hint) from error
        if project.time not in schema.names:
            raise DataUnavailable(f"partition {part.path} has no column {project.time!r}")
        if part.footer is not None and part.footer != held:
            raise DataUnavailable(f"partition {part.path} changed while it was versioned", hint="try again")
        spans.append((held.first, held.last))
        rows, size = rows + held.rows, size + path.stat().st_size
        schemas.add(json.dumps([(field.name, str(field.type)) for field in schema]))
    known = [(first, last) for first, last in spans if first is not None and last is not None]
    if not known:
        raise DataUnavailable(f"project {project.name!r}: no row has a time, up to {parts[-1].month}")
    fingerprint = hashlib.sha256("\n".join(sorted(schemas)).encode()).hexdigest()
    return Contents(rows, size, min(low for low, _ in known), max(high for _, high in known), fingerprint)
