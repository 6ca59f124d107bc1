"""Backs up a home while its servers run, and restores it at any path."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

from fullcircle.core.errors import DataUnavailable, FullcircleError, UsageError
from fullcircle.core.settings import Settings, require_usable_home
from fullcircle.core.system.files import fsync
from fullcircle.core.system.processes import process_exists
from fullcircle.loop import progress
from fullcircle.loop.backup import backup_archive
from fullcircle.store.file_locks import exclusive
from fullcircle.tracking.connection.client import address, is_server

DATABASES = ("fullcircle.db", "mlflow.db")
"""Copied at one moment: what one says of a release, the other one's aliases show."""
MADE_AGAIN = ("locks", "tmp", "downloads", "dvc", "exports", "reproductions")
"""Folders of the home that are left out: they are made again when they are needed, or belong to a running command."""
_FIRST = ("predictions/*/wal/*", "predictions/*", "spool/*.cursor", "spool/*")
"""What is copied before the databases, in this order (docs/adr/0091)."""
_UNFINISHED = (".*.part", ".new-*", ".fetch-*", ".probe-*", "*.lock", "*-wal", "*-shm", "*-journal")
"""Names of files that are being written, or locked, by somebody; and what belongs to a SQLite file."""
_SQLITE = b"SQLite format 3\0"
_PASSES = 20
_PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.restoring")


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What was written, or put back.

    Attributes:
        size_bytes: of the file, for a backup; of the home's files, when they were put back.
        outside: a sentence for each thing that belongs to the home and is not in the file.
    """

    file: Path
    home: Path
    files: int
    size_bytes: int
    began: str
    outside: tuple[str, ...]


def backup(settings: Settings, file: Path) -> Backup:
    """Write all of the home that cannot be made again into one file, while whatever runs goes on.

    What was acknowledged before it began is inside: rows that were answered, labels, runs, releases. The file appears
    once it is whole; killed in the middle, it does not.

    Raises:
        UsageError: there is no home, or the file exists, or lies in the home.
        FullcircleError: a file of the home cannot be read, a database is damaged, or the file cannot be written.
    """
    file, home = file.expanduser().absolute(), settings.home
    if not home.is_dir():
        raise UsageError(f"there is no home in {home}", hint="FULLCIRCLE_HOME names the one to back up")
    if file.resolve().is_relative_to(home):
        raise UsageError(f"{file} lies in the home itself", hint="name a file elsewhere, best on another disk")
    if file.exists():
        raise UsageError(f"{file} exists", hint="name a new file")
    began, outside = datetime.now(UTC).isoformat(timespec="seconds"), tuple(_outside(settings))

    def about(files: object) -> backup_archive.Manifest:
        assert isinstance(files, list)
        return backup_archive.Manifest(
            version=installed_version("fullcircle"),
            home=str(home),
            began=began,
            files=files,
            outside=[*outside],
        )

    _remove_abandoned(file)
    try:
        with backup_archive.writing(file, about) as writer:
            _fill(settings, writer, file)
    except OSError as error:
        raise FullcircleError(
            # An error without a file's name is one of writing: a full disk, a limit.
            f"the backup {file} cannot be written ({error.filename or file.parent}: {error.strerror or error})",
            hint="nothing of it was kept; the home is as it was",
        ) from error
    files = len(writer.files)
    return Backup(file=file, home=home, files=files, size_bytes=file.stat().st_size, began=began, outside=outside)


def restore(file: Path, home: Path) -> Backup:
    """Put a home back from its backup into an empty or a new folder. All or nothing.

    Raises:
        UsageError: the folder is not empty, or its path is one at which no home can be used.
        DataUnavailable: the file is no backup, damaged (which of its files), hostile, or does not fit on the disk.
        FullcircleError: the folder cannot be written.
    """
    file, home = file.expanduser().absolute(), home.absolute()
    if home.is_symlink() or (home.exists() and (not home.is_dir() or any(home.iterdir()))):
        raise UsageError(f"cannot restore into {home}: it is not an empty folder", hint="--into names a new one")
    require_usable_home(home.resolve(), f"cannot restore into {home}: it")
    progress.current().stage("check the backup", str(file))
    manifest = backup_archive.read(file)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        backup_archive.require_room(file, manifest, home.parent)
        for leftover in _abandoned(home):
            shutil.rmtree(leftover, ignore_errors=True)
        part = home.with_name(f".{home.name}.{os.getpid()}.restoring")
        part.mkdir(mode=0o700)
        try:
            backup_archive.unpack(
                file, manifest, part, lambda done, total: progress.current().advance("restore", done, total)
            )
            part.rename(home)  # takes the place of an empty folder, and of nothing else
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        fsync(home.parent)
    except OSError as error:
        raise FullcircleError(f"cannot restore into {home} ({error.strerror or error})") from error
    return Backup(
        file=file,
        home=home,
        files=len(manifest.files),
        size_bytes=sum(each.size for each in manifest.files),
        began=manifest.began,
        outside=tuple(manifest.outside),
    )


def _fill(settings: Settings, writer: backup_archive.ArchiveWriter, file: Path) -> None:
    home, told = settings.home, progress.current()
    told.stage("copy the log and the spool", str(home))
    for pattern in _FIRST:
        _add_all(home, pattern, writer)
    told.stage("copy the databases")
    # Beside the file, where there is room for it: a home whose disk is full is just the one to be backed up.
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.{os.getpid()}.part-") as aside:
        with _no_release(settings):
            for name in DATABASES:
                if (home / name).is_file():
                    _snapshot(home / name, Path(aside) / name)
        for name in DATABASES:
            if (Path(aside) / name).exists():
                _checked(Path(aside) / name, home / name)
                writer.add(Path(aside) / name, name)
        told.stage("copy the rest")
        _add_all(home, "*", writer, Path(aside))


def _add_all(home: Path, pattern: str, writer: backup_archive.ArchiveWriter, aside: Path | None = None) -> None:
    """Add what is there and not added yet. Files that go away meanwhile went into others: it is looked again."""
    for _ in range(_PASSES):
        added = {each.name for each in writer.files}
        gone = False
        found = [path for path in _files(home) if fnmatch.fnmatchcase(path.relative_to(home).as_posix(), pattern)]
        for count, path in enumerate(found, 1):
            name = path.relative_to(home).as_posix()
            if name in added or name in DATABASES:
                continue
            try:
                if aside is not None and _is_sqlite(path):
                    _snapshot(path, aside / "other.db")
                    writer.add(aside / "other.db", name)
                    (aside / "other.db").unlink()
                else:
                    writer.add(path, name)
            except FileNotFoundError:
                gone = True
            if aside is not None:
                progress.current().advance("copy the rest", count, len(found))
        if not gone:
            return
    raise FullcircleError(f"the files of {home} change faster than they can be copied", hint="try again")


def _files(home: Path) -> Iterator[Path]:
    """The home's files that are whole, in order. Links are not followed, and what is no plain file is passed over."""
    for folder, folders, names in os.walk(home):
        at = Path(folder)
        if at == home:
            folders[:] = [each for each in folders if each not in MADE_AGAIN]
        folders[:] = sorted(each for each in folders if not fnmatch.fnmatchcase(each, ".*.part"))
        for name in sorted(names):
            path = at / name
            if any(fnmatch.fnmatchcase(name, each) for each in _UNFINISHED):
                continue
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


@contextlib.contextmanager
def _no_release(settings: Settings) -> Iterator[None]:
    """Nobody changes an alias while the block runs: the ledger and the registry are then of one moment."""
    with contextlib.ExitStack() as stack:
        for path in sorted((settings.home / "locks").glob("aliases-*.lock")):
            stack.enter_context(exclusive(path))
        yield


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _snapshot(source: Path, target: Path) -> None:
    """A SQLite file as it is at one moment, what is in its write-ahead file included, beside any number of writers."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)) as live,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
    except sqlite3.Error as error:
        if not source.exists():
            raise FileNotFoundError(source) from error
        hint = "nothing of the backup was kept; is there room?"
        raise FullcircleError(f"{source} cannot be copied to {target.parent.parent} ({error})", hint=hint) from error
    shutil.copystat(source, target)


def _checked(copy: Path, source: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            found = str(error)
    if found != "ok":
        hint = "bring it back from an earlier backup; no backup was written"
        raise DataUnavailable(f"{source} is damaged ({str(found).splitlines()[0]})", hint=hint)


def _outside(settings: Settings) -> Iterator[str]:
    """What belongs to the home and lies elsewhere."""
    from fullcircle.store.engine import shown

    inside = f"sqlite:///{settings.home}/"
    if is_server(settings):
        yield f"runs and models are on the MLflow server {address(settings)}: back up its database and its artifacts"
    elif not settings.tracking_uri.startswith(inside):
        yield f"MLflow's tables are in {address(settings)}: back them up there ('pg_dump' for PostgreSQL)"
    if not settings.database_url.startswith(inside):
        yield f"ledger, decisions and incidents are in {shown(settings.database_url)}: back them up there ('pg_dump')"
    remote = settings.dvc_remote
    if "://" in remote or not Path(remote).expanduser().absolute().is_relative_to(settings.home):
        yield f"the bytes of the data versions are in the DVC remote {remote}"
    if settings.prefect_url:
        yield f"flow runs and schedules are on the Prefect server {settings.prefect_url}"


def _abandoned(home: Path) -> Iterator[Path]:
    """What killed restores into this folder left beside it."""
    for path in home.parent.glob(".*.restoring"):
        found = _PART.fullmatch(path.name)
        if found and found["name"] == home.name and not process_exists(int(found["pid"])):
            yield path


def _remove_abandoned(file: Path) -> None:
    """Remove what killed backups to this name left beside it."""
    for path in file.parent.iterdir() if file.parent.is_dir() else ():
        found = re.fullmatch(rf"\.{re.escape(file.name)}\.(\d+)\.part(-.*)?", path.name)
        if found and not process_exists(int(found[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
