"""A project's rows as they lie on disk: one Parquet file a month of UTC, named `<YYYY-MM>.parquet`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Partition:
    """One month of rows.

    Attributes:
        month: `YYYY-MM`, a calendar month of UTC.
        path: its Parquet file.
    """

    month: str
    path: Path

    @property
    def start(self) -> datetime:
        """The first moment of the month, UTC."""
        return datetime.strptime(self.month, "%Y-%m").replace(tzinfo=UTC)


def partitions(project: Project, until: datetime | None = None) -> tuple[Partition, ...]:
    """The project's partitions in the order of time: those whose month starts before `until` (timezone-aware).

    Files that are not named `<YYYY-MM>.parquet` are passed over.

    Raises:
        DataUnavailable: no folder, or no partition in it that starts before `until`.
        UsageError: `until` has no timezone.
    """
    until = aware(until) if until else None
    folder = project.partitions
    hint = f"put files named <YYYY-MM>.parquet there (as '{project.name}' says in project.py: data={project.data!r})"
    if (folder.parent.parent.parent / "dvc.yaml").is_file() or Path("dvc.yaml").is_file():
        hint = f"'dvc repro' makes them where dvc.yaml has a stage for it, else {hint}"
    if not folder.is_dir():
        raise DataUnavailable(f"project {project.name!r} has no data: no folder {folder}", hint=hint)
    files = sorted(path for path in folder.glob("*.parquet") if path.is_file() and _NAME.fullmatch(path.stem))
    found = [Partition(path.stem, path) for path in files]
    if not found:
        raise DataUnavailable(f"project {project.name!r} has no data: no <YYYY-MM>.parquet in {folder}", hint=hint)
    kept = tuple(part for part in found if until is None or part.start < until)
    if not kept:
        raise DataUnavailable(
            f"project {project.name!r} has no data before {until:%Y-%m-%d %H:%M} UTC",
            hint=f"its first partition is {found[0].month}",
        )
    return kept


def load(parts: Sequence[Partition], project: Project, *, until: datetime | None = None) -> pd.DataFrame:
    """The rows of these partitions with time < `until`, sorted by (time, row id).

    Only the project's columns, target, time and row id; columns that the files lack stay out, for the data
    contract to name. Time is `datetime64[us, UTC]`; the index counts from 0.

    Raises:
        DataUnavailable: no partition given, a file that does not read, or one without the time or row id column.
        UsageError: `until` has no timezone.
    """
    import pandas as pd

    until = aware(until) if until else None
    if not parts:
        raise DataUnavailable(f"project {project.name!r}: no partition to load", hint="see 'partitions'")
    frames = [_read(part, project, until) for part in parts]
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return frame.sort_values([project.time, project.row_id], kind="stable", ignore_index=True)


def batch(path: Path) -> pd.DataFrame:
    """All columns of one Parquet file, as they are. Raises DataUnavailable when it does not read."""
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(f"{path}", error, "it must be a Parquet file") from error


def wanted(project: Project) -> tuple[str, ...]:
    """Names of all that the platform reads of a row: columns, target, time and row id."""
    return (*(column.name for column in project.columns), project.target.name, project.time, project.row_id)


def aware(moment: datetime) -> datetime:
    """The same moment in UTC. Raises UsageError when it does not say its timezone."""
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no timezone", hint="times are UTC: add +00:00")
    return moment.astimezone(UTC)


def _unreadable(what: str, error: Exception, hint: str) -> DataUnavailable:
    why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return DataUnavailable(f"{what} does not read ({why})", hint=hint)


def _read(part: Partition, project: Project, until: datetime | None) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(part.path)
        names = [name for name in wanted(project) if name in file.schema_arrow.names]
        table = file.read(columns=names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(f"partition {part.path}", error, "make it again") from error
    if missing := [name for name in (project.time, project.row_id) if name not in names]:
        has = ", ".join(file.schema_arrow.names[:20])
        raise DataUnavailable(f"partition {part.path} has no column {missing[0]!r}", hint=f"it has {has}")
    frame: pd.DataFrame = table.to_pandas()
    try:
        frame[project.time] = pd.to_datetime(frame[project.time], utc=True).astype("datetime64[us, UTC]")
    except (ValueError, TypeError) as error:
        what = f"partition {part.path}: column {project.time!r} holds no times ({error})"
        raise DataUnavailable(what, hint="make it a timestamp in UTC") from error
    # A missing time is kept: it is for the data contract to find, not for us to hide.
    return frame if until is None else frame[~(frame[project.time] >= until)]
