"""One spool folder: what a process logged of a run, how far it was uploaded, and the last error.

<home>/spool/<id>/
    run.json            which run of which tracker this is, or how it is to be begun there
    lock                held by the process that writes or sends; the kernel lets go of it with the process (and with
                        the last child that it forked without an exec)
    main.spool          what the run logged, in order; <other>.spool: of further processes of the run
    <name>.cursor       how far <name>.spool was sent
    artifacts/          files that the tracker does not have yet
    trouble.json        since when nothing could be sent, and why
    <name>.spool.damaged-<offset>   bytes that are no good frames, kept aside
    <name>.spool.left-out-<offset>  an entry that the tracker refused and somebody gave up; an artifact's bytes stay

It is removed when all of it was sent, and nothing of it is damaged or was left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.core.errors import SpoolTooNew, TrackingUnavailable
from fullcircle.core.framed_log.frames import read
from fullcircle.core.framed_log.layout import End
from fullcircle.core.settings import Settings, home_unwritable
from fullcircle.core.system.files import write_whole
from fullcircle.tracking.spool.backlog import Backlog, counted
from fullcircle.tracking.spool.lock import locked
from fullcircle.tracking.spool.rejected import RejectedEntry, rejected_entries
from fullcircle.tracking.spool.spool_file import KIND, Entry, decode

FORMAT = 1
MAIN = "main"
PIECE = 4 * 2**20
"""Bytes of a file that are read at once."""
CURSOR_BYTES = 64
"""More than a cursor ever has: of a longer one that was there nothing may be left behind."""


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is begun on its tracker.

    Attributes:
        tags: of the run; of the experiment, if that has to be made.
        started_ms: milliseconds since the epoch.
    """

    experiment: str
    experiment_tags: dict[str, str]
    name: str
    tags: dict[str, str]
    started_ms: int


class SpoolMetadata(msgspec.Struct, kw_only=True, frozen=True):
    """run.json.

    Attributes:
        tracker: address of the tracking store, without credentials.
        run_id: the tracker's, or None while the run has not been begun there.
        key: what the run was called when it began: `run_id`, or the folder's id if the tracker was away.
        made_ms: when the folder was made.
    """

    tracker: str
    run_id: str | None
    key: str
    begin: NewRun | None
    made_ms: int
    format: int = FORMAT


class SpoolDir:
    """One spool folder. Nothing is read before the first call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """Its name."""
        return self.path.name

    def metadata(self) -> SpoolMetadata:
        """What run.json says.

        Raises:
            SpoolTooNew: a newer version of the platform wrote it.
            TrackingUnavailable: the file is missing or damaged.
        """
        try:
            value = json.loads((self.path / "run.json").read_bytes())
            if isinstance(value, dict) and value.get("format", 0) > FORMAT:
                raise SpoolTooNew(
                    f"{self.path} has format {value['format']} and this version reads up to {FORMAT}; nothing of it "
                    "was changed",
                    hint="send it with the version of fullcircle that wrote it, or a newer one",
                )
            return msgspec.convert(value, SpoolMetadata)
        except (OSError, ValueError, TypeError) as error:
            raise TrackingUnavailable(f"{self.path / 'run.json'} does not say which run this is ({error})") from error

    def save(self, about: SpoolMetadata) -> None:
        """Write run.json, whole or not at all, onto the disk. Raises HomeUnwritable."""
        try:
            write_whole(self.path / "run.json", msgspec.json.format(msgspec.json.encode(about)), durable=True)
        except OSError as error:
            raise home_unwritable(self.path, error) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the folder while the block runs; False when another process goes on holding it, or it is gone."""
        with locked(self.path / "lock") as ours:
            yield ours and (self.path / "run.json").exists()  # it may have been removed while we opened the lock

    def files(self) -> tuple[Path, ...]:
        """Its spool files, the main one last: its end says how the run ended."""
        found = sorted(self.path.glob("*.spool"))
        return tuple(sorted(found, key=lambda path: path.stem == MAIN))

    def cursor(self, file: Path) -> int:
        """How far the file was sent; 0 when nobody knows, for sending again doubles nothing."""
        try:
            value = json.loads(file.with_suffix(".cursor").read_bytes())
            # A digit that flipped would skip points that were never sent.
            return int(value["offset"]) if value["crc32"] == _checksum(value["offset"]) else 0
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def advance(self, file: Path, offset: int) -> None:
        """Remember, in place of what was remembered before, that the file was sent up to here. Raises OSError.

        Written over the old one: a new file each time would be a fifth of what a request costs the process that trains,
        and a disk that is full has no room for one.
        """
        value = {"offset": offset, "crc32": _checksum(offset)}
        with open(file.with_suffix(".cursor"), "wb", buffering=0, opener=_over) as cursor:
            cursor.write(json.dumps(value).ljust(CURSOR_BYTES).encode())

    def record_error(self, why: str) -> None:
        """Remember why nothing can be sent, and since when; "" forgets it. A full disk is no reason to fail here."""
        path = self.path / "trouble.json"
        with contextlib.suppress(OSError):
            if not why:
                path.unlink(missing_ok=True)
            elif self.last_error() != why:
                since = self._trouble().get("since", time.time())
                write_whole(path, json.dumps({"why": why, "since": since}))

    def last_error(self) -> str:
        """Why nothing could be sent the last time; "" when it could."""
        return str(self._trouble().get("why", ""))

    def set_aside(self, file: Path, offset: int) -> Path:
        """Move what follows `offset` into a file of its own beside it, and end the file there. Raises OSError."""
        kept = file.with_name(f"{file.name}.damaged-{offset}")
        with file.open("rb") as source:
            source.seek(offset)
            write_whole(kept, source.read(), durable=True)
        with file.open("rb+") as target:
            target.truncate(offset)
            os.fsync(target.fileno())
        return kept

    def damaged(self) -> tuple[str, ...]:
        """Files of bytes that were set aside."""
        return tuple(str(path) for path in sorted(self.path.glob("*.damaged-*")))

    def rejected(self) -> tuple[RejectedEntry, ...]:
        """What was given up of it."""
        return rejected_entries(self.path)

    @property
    def drained(self) -> bool:
        """Whether every byte of its files was sent or given up."""
        return all(self.cursor(file) == file.stat().st_size for file in self.files())

    def remove(self) -> None:
        """Take the folder away. run.json goes first: without it, whoever looks sees no run."""
        with contextlib.suppress(OSError):
            (self.path / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def backlog(self) -> Backlog:
        """What the tracker does not have. Raises as `metadata`, and SpoolTooNew."""
        about = self.metadata()
        with self.lock() as ours:
            counts = counted(entry for file in self.files() for entry in self._rest(file))
            since = min((file.stat().st_mtime for file in self.files()), default=about.made_ms / 1000)
            return Backlog(
                run=about.run_id or about.key,
                folder=str(self.path),
                begun=about.run_id is not None,
                points=counts["points"],
                artifacts=counts["artifacts"],
                entries=counts["entries"],
                since=float(self._trouble().get("since", since)),
                why=self.last_error(),
                damaged=self.damaged(),
                writing=not ours,
                left_out=self.rejected(),
            )

    def _rest(self, file: Path) -> Iterator[Entry]:
        at = self.cursor(file)
        while True:
            found = read(file, KIND, at, limit=PIECE, skip=False)
            for payload, _ in found.payloads:
                yield decode(payload)
            if not found.payloads or found.end is not End.WHOLE:
                return
            at = found.offset

    def _trouble(self) -> dict[str, Any]:
        try:
            value = json.loads((self.path / "trouble.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def create_spool_dir(settings: Settings, name: str, about: SpoolMetadata) -> Iterator[SpoolDir]:
    """A new folder, held until the block ends. Raises HomeUnwritable."""
    while True:
        folder = SpoolDir(settings.folder("spool", name))
        with locked(folder.path / "lock"):  # before run.json is there, so that nobody takes it for a leftover
            if not (folder.path / "lock").exists():
                continue  # somebody took it for one before it was locked
            folder.save(about)
            yield folder
            return


def remove_unbegun(settings: Settings) -> None:
    """Take away folders whose process was killed before they said which run they are of: nothing was logged to them."""
    for path in (settings.home / "spool").glob("*/"):
        with contextlib.suppress(OSError), locked(path / "lock", tries=1) as ours:
            if ours and all(each.name == "lock" or each.name.startswith(".run.json.") for each in path.iterdir()):
                shutil.rmtree(path)


def list_spool_dirs(settings: Settings) -> tuple[SpoolDir, ...]:
    """All folders of the home, the oldest first."""
    root = settings.home / "spool"
    found = [SpoolDir(path) for path in root.iterdir() if (path / "run.json").exists()] if root.is_dir() else []
    return tuple(sorted(found, key=_made))


def _over(path: str, _flags: int) -> int:
    """Opens a file without emptying it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _checksum(offset: int) -> int:
    return zlib.crc32(str(offset).encode())


def _made(folder: SpoolDir) -> tuple[int, str]:
    try:
        return folder.metadata().made_ms, folder.id
    except (TrackingUnavailable, SpoolTooNew):
        return 0, folder.id
