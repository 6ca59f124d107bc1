"""DVC's own two texts, read with care since they may come from elsewhere: the `.dvc` pointer and the folder object."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, size, spans, schemas = 0, 0, [], set()
    for part, path in zip(parts, paths, strict=True):
        try:
            file = pq.ParquetFile(path)
            spans.append(_span(file, project.time))
        except (OSError, pa.ArrowException, KeyError) as error:
            why = str(error).splitlines()[0]
            raise DataUnavailable(f"partition {part.path} does not read ({type(error).__name__}: {why})") from error
        rows, size = rows + file.metadata.num_rows, size + path.stat().st_size
        schemas.add(json.dumps([(field.name, str(field.type)) for field in file.schema_arrow]))
    known = [span for span in spans if span is not None]
    if not known:
        raise DataUnavailable(f"project {project.name!r}: no row has a time, up to {parts[-1].month}")
    fingerprint = hashlib.sha256("\n".join(sorted(schemas)).encode()).hexdigest()
    return Contents(rows, size, min(low for low, _ in known), max(high for _, high in known), fingerprint)


def _span(file: object, column: str) -> tuple[datetime, datetime] | None:
    """First and last time of one file, None when it has no row."""
    import pandas as pd
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    assert isinstance(file, pq.ParquetFile)
    position = file.schema_arrow.names.index(column) if column in file.schema_arrow.names else None
    if position is None:
        raise KeyError(f"no column {column}")
    groups = [file.metadata.row_group(i).column(position).statistics for i in range(file.metadata.num_row_groups)]
    if groups and all(group is not None and group.has_min_max for group in groups):
        low, high = min(group.min for group in groups), max(group.max for group in groups)
    else:
        extremes = pc.min_max(file.read(columns=[column])[column]).as_py()
        low, high = extremes["min"], extremes["max"]
    if low is None:
        return None
    first, last = (pd.to_datetime(moment, utc=True).to_pydatetime().astimezone(UTC) for moment in (low, high))
    return first, last
