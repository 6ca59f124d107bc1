"""Monthly Parquet partitions of a project: one file a month of UTC, `<YYYY-MM>.parquet`, and nothing unsaid.

Whatever is in the folder is read, not read because of `until` (and named), or refused by its name. Only what cannot
hold rows (hidden files, markers of writers, documents) is passed over, and named too. See docs/adr/0094.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.security.untrusted import visible
from fullcircle.data.parquet_footers import Footer, footer

# Not \d, which takes digits of any script.
_NAME = re.compile(r"((?:19|20|21)[0-9]{2}-(?:0[1-9]|1[0-2]))\.parquet")
_ALMOST = re.compile(r"((?:19|20|21)[0-9]{2})[-_. ]?(1[0-2]|0?[1-9])\.(?:parquet|pq|parq)", re.IGNORECASE)
_MARKER = re.compile(r"_SUCCESS|_(common_)?metadata|_(started|committed)_[0-9]+|Thumbs\.db|desktop\.ini")
_DOCUMENT = re.compile(r"(readme|licen[cs]e|notice|changelog|citation|authors)(\.\w+)?|.*\.(md|rst)", re.IGNORECASE)
NAMED = 8
"""Most files of one kind that a sentence names."""


@dataclass(frozen=True)
class Partition:
    """One file of rows.

    Attributes:
        month: `YYYY-MM`, the calendar month of UTC that its name says; "" where a file stands alone.
        path: its Parquet file.
        footer: how many rows it has by its own account, and from when to when; None: not looked at.
    """

    month: str
    path: Path
    footer: Footer | None = None

    def __str__(self) -> str:
        return f"partition {self.path}" if self.month else str(self.path)

    @property
    def start(self) -> datetime:
        """The first moment of the month, UTC."""
        return datetime.strptime(self.month, "%Y-%m").replace(tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the month, UTC."""
        first = self.start
        return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


@dataclass(frozen=True)
class Survey:
    """What of a folder is read, and what is not and why.

    Attributes:
        parts: the files that have rows before `until`, in the order of their names.
        skipped: the files that have none.
        ignored: names of what cannot hold rows.
        notes: a sentence for each thing that the reader would not expect.
    """

    parts: tuple[Partition, ...]
    skipped: tuple[Partition, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def partitions(project: Project, until: datetime | None = None) -> tuple[Partition, ...]:
    """The files of `survey` that are read. Raises as it does."""
    return survey(project, until).parts


def survey(project: Project, until: datetime | None = None) -> Survey:
    """All that lies in the project's folder of rows, sorted out: a file is read when a row of it is before `until`.

    Whether one is, its rows say, by the file's footer, not its name.

    Args:
        until: timezone-aware; None: every file is read.

    Raises:
        DataUnavailable: no folder, something in it that might be rows and is no such file, a file that does not read,
            or no row before `until`.
        UsageError: `until` has no timezone.
    """
    until = aware(until) if until else None
    folder = project.partitions
    found, ignored = _sorted_out(project, folder)
    if not found:
        what = f"project {project.name!r} has no data: no <YYYY-MM>.parquet in {folder}"
        raise DataUnavailable(what, hint=_hint(project, folder))
    looked_at = [Partition(part.month, part.path, footer(part.path, project.time)) for part in found]
    parts = tuple(part for part in looked_at if until is None or _begins(part) < until)
    skipped = tuple(part for part in looked_at if part not in parts)
    if not parts:
        raise DataUnavailable(
            f"project {project.name!r} has no data before {until:%Y-%m-%d %H:%M} UTC",
            hint=f"its first partition is {looked_at[0].month}",
        )
    notes = tuple(_notes(parts, skipped, ignored, until))
    return Survey(parts=parts, skipped=skipped, ignored=ignored, notes=notes)


def aware(moment: datetime) -> datetime:
    """The same moment in UTC. Raises UsageError when it does not say its timezone."""
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no timezone", hint="times are UTC: add +00:00")
    return moment.astimezone(UTC)


def _sorted_out(project: Project, folder: Path) -> tuple[list[Partition], tuple[str, ...]]:
    """The folder's files of rows, and the names of what holds none. Raises DataUnavailable for all else."""
    if not folder.is_dir():
        hint = _hint(project, folder)
        raise DataUnavailable(f"project {project.name!r} has no data: no folder {folder}", hint=hint)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataUnavailable(f"the folder {folder} does not read ({error.strerror or error})") from error
    names = {path.name for path in entries}
    found, ignored, refused = [], [], []
    for path in entries:
        if _holds_no_rows(path):
            ignored.append(visible(path.name))
        elif why := _fault(path, names):
            refused.append(f"{visible(path.name)} {why}")
        elif name := _NAME.fullmatch(path.name):
            found.append(Partition(name[1], path))
        else:
            ignored.append(visible(path.name))
    if refused:
        what = f"project {project.name!r}: rows in {folder} would be left out: {_listed(refused, '; ')}"
        raise DataUnavailable(what, hint="mend that, or move it out of the folder; nothing was read")
    return found, tuple(ignored)


def _holds_no_rows(path: Path) -> bool:
    known = _MARKER.fullmatch(path.name) or _DOCUMENT.fullmatch(path.name)
    return path.name.startswith(".") or (bool(known) and path.is_file())


def _fault(path: Path, names: Collection[str]) -> str:
    """What is wrong with something that might be rows; "" when nothing is."""
    name = path.name
    if path.is_symlink() and not path.exists():
        return f"is a link to {visible(str(path.readlink()))}, which is not there"
    if path.is_dir():
        return "is a folder (write its rows as one file named <YYYY-MM>.parquet)"
    if not path.is_file():
        return "is no regular file"
    if name.endswith(".dvc"):  # beside its file it only says which one that is
        return "" if name.removesuffix(".dvc") in names else f"points at data that is not here ('dvc pull {name}')"
    if not _NAME.fullmatch(name):
        almost = _ALMOST.fullmatch(name)
        if almost and (should := f"{almost[1]}-{int(almost[2]):02}.parquet") not in names:
            return f"is not named <YYYY-MM>.parquet (rename it to {should})"
        return "is not named <YYYY-MM>.parquet"
    return "is empty (0 bytes)" if path.stat().st_size == 0 else ""


def _begins(part: Partition) -> datetime:
    """The first moment of its rows; the least one where a row has none: whoever looks at the row is to find it."""
    assert part.footer is not None
    if part.footer.untimed:
        return datetime.min.replace(tzinfo=UTC)
    return part.footer.first or part.start


def _notes(
    parts: Sequence[Partition], skipped: Sequence[Partition], ignored: Sequence[str], until: datetime | None
) -> Iterator[str]:
    if skipped:
        names, rows = [part.path.name for part in skipped], sum(_rows(part) for part in skipped)
        which = names[0] if len(names) == 1 else f"{len(names)} files from {names[0]} to {names[-1]}"
        yield f"not read, as no row of it is before {until:%Y-%m-%d %H:%M} UTC: {which} ({rows:,} rows)"
    if ignored:
        yield f"passed over in the data folder: {_listed(ignored, ', ')}"
    for part in parts:
        assert part.footer is not None
        first, last = part.footer.first, part.footer.last
        if first is not None and last is not None and not (part.start <= first and last < part.end):
            yield (
                f"{part.path.name} has rows of other months ({first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC): "
                "they are read as what they are"
            )
        if not part.footer.rows:
            yield f"{part.path.name} has no row"
    if gaps := [one for one, next_ in itertools.pairwise(parts) if one.end != next_.start]:
        yield f"there is no file for the month after {_listed([part.path.name for part in gaps], ', ')}"


def _rows(part: Partition) -> int:
    return part.footer.rows if part.footer else 0


def _listed(names: Sequence[str], between: str) -> str:
    more = f"{between}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return between.join(names[:NAMED]) + more


def _hint(project: Project, folder: Path) -> str:
    if folder.with_name(f"{folder.name}.dvc").is_file():
        return f"'dvc pull {folder.name}.dvc' brings it here"
    hint = f"put files named <YYYY-MM>.parquet there (as '{project.name}' says in project.py: data={project.data!r})"
    if (folder.parent.parent.parent / "dvc.yaml").is_file() or Path("dvc.yaml").is_file():
        return f"'dvc repro' makes them where dvc.yaml has a stage for it, else {hint}"
    return hint
