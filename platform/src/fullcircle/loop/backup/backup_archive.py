"""The file that a backup is: a ZIP with the home's files, a manifest of their digests, and a digest of it all.

Anybody's `unzip` opens it. `manifest.json` is the last entry; the ZIP's comment is `sha256:` and the SHA-256 of all
bytes before the digest, so that a bit that flipped anywhere is seen, and the manifest names the file that it fell on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from fullcircle.core.errors import DataUnavailable, FullcircleError
from fullcircle.core.system.files import replacing

FORMAT = 1
MANIFEST = "manifest.json"
_MARK = b"sha256:"
_DIGITS = 64
_BLOCK = 1 << 20
_LARGEST_MANIFEST = 1 << 28
_DEEPEST = 200
"""Folders in one another: what removes a half-written home goes into each of them, and Python ends near a thousand."""
_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, OSError),
)
"""What `zipfile` raises over bytes that are no ZIP: its headers are not checked before they are believed."""
_LEVEL = 1  # most bytes are Parquet and models, which hardly shrink: what a higher level costs is not worth it


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its path in the home, bytes, SHA-256, and nanoseconds since the epoch at which it was changed."""

    name: str
    size: int
    sha256: str
    changed_ns: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself.

    Attributes:
        version: of fullcircle.
        home: where the home lay.
        began: ISO 8601, UTC: what was acknowledged before is inside.
        outside: a sentence for each thing that belongs to the home and is not inside.
    """

    version: str
    home: str
    began: str
    files: list[File]
    outside: list[str]
    format: int = FORMAT


class ArchiveWriter:
    """Adds files to a backup that is being made. Raises OSError."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.files: list[File] = []

    def add(self, source: Path, name: str) -> None:
        """Add a file as it is at this moment; what is appended to it meanwhile is left out.

        Raises FileNotFoundError when it is gone, FullcircleError when `read` would refuse its name.
        """
        if name == MANIFEST or (unfit := _unfit(name)):
            what = "is what a backup calls its own list" if name == MANIFEST else unfit
            raise FullcircleError(f"{source.parent} has a file {source.name!r}, whose name {what}", hint="rename it")
        with source.open("rb") as file:
            about = os.fstat(file.fileno())
            digest, left = hashlib.sha256(), about.st_size
            with self._archive.open(_entry(name), "w", force_zip64=True) as target:
                while left and (block := file.read(min(_BLOCK, left))):
                    digest.update(block)
                    target.write(block)
                    left -= len(block)
        size = about.st_size - left  # less, where it was cut meanwhile
        self.files.append(File(name=name, size=size, sha256=digest.hexdigest(), changed_ns=about.st_mtime_ns))


@contextmanager
def writing(path: Path, about: Callable[[Sequence[File]], Manifest]) -> Iterator[ArchiveWriter]:
    """A backup that is at `path` when the block ends well, whole and on the disk; for its owner alone to read.

    Raises OSError.
    """
    with replacing(path, durable=True) as part:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
                writer = ArchiveWriter(archive)
                yield writer
                with archive.open(_entry(MANIFEST), "w", force_zip64=True) as target:
                    target.write(msgspec.json.format(msgspec.json.encode(about(writer.files))))
                archive.comment = _MARK + b"0" * _DIGITS
            file.seek(0)
            digest = _digest(file, os.fstat(file.fileno()).st_size - _DIGITS)
            file.seek(-_DIGITS, os.SEEK_END)
            file.write(digest.encode())


def read(path: Path) -> Manifest:
    """What a backup says of itself, once every byte of it is what was written.

    Raises:
        DataUnavailable: it is none, or it is damaged: which of its files, as far as that can be told.
    """
    try:
        with path.open("rb") as file:
            whole = _is_whole(file)
            with zipfile.ZipFile(file) as archive:
                manifest = _manifest(archive, path)
                if not whole:
                    raise _damaged(path, _first_damaged(archive, manifest))
                _require_listed(archive, manifest, path)
                return manifest
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataUnavailable(f"the backup {path} cannot be read ({error.strerror})") from error
        what = f"{path} is no backup, or a part of one ({error})"
        raise DataUnavailable(what, hint="was it copied to its end? nothing was restored") from error


def unpack(path: Path, manifest: Manifest, folder: Path, advance: Callable[[int, int], None]) -> None:
    """Write the files of a backup into an empty folder, each held against its digest. See `read`.

    Raises:
        DataUnavailable: a file is not what was written.
        OSError: the folder cannot be written.
    """
    total, done = sum(each.size for each in manifest.files), 0
    with zipfile.ZipFile(path) as archive:
        for each in manifest.files:
            target = folder / each.name
            for parent in reversed(target.relative_to(folder).parents):
                (folder / parent).mkdir(mode=0o700, exist_ok=True)
            _write(archive, each, target, path)
            os.utime(target, ns=(each.changed_ns, each.changed_ns))
            done += each.size
            advance(done, total)


def _write(archive: zipfile.ZipFile, each: File, target: Path, path: Path) -> None:
    digest, left = hashlib.sha256(), each.size
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        try:
            with archive.open(each.name) as source:
                # One byte more than it says, and it is refused: nothing swells beyond what was counted before.
                while block := source.read(min(_BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        break
                    digest.update(block)
                    file.write(block)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _damaged(path, each.name) from error
    if left or digest.hexdigest() != each.sha256:
        raise _damaged(path, each.name)


def _unfit(name: str) -> str:
    """Why no file of a backup may have this name, "" when it may: by one rule for what is written and what is read."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "/".join(parts) != name:
        return "leads out of the home"
    if "\\" in name or "\0" in name or any("\ud800" <= each <= "\udfff" for each in name):
        return "has a backslash or what is no text in it"
    return f"lies more than {_DEEPEST} folders deep" if len(parts) > _DEEPEST else ""


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o600) << 16
    return entry


def _digest(file: IO[bytes], length: int) -> str:
    digest = hashlib.sha256()
    while length > 0 and (block := file.read(min(_BLOCK, length))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def _is_whole(file: IO[bytes]) -> bool:
    size = file.seek(0, os.SEEK_END)
    if size < len(_MARK) + _DIGITS:
        return False
    file.seek(size - len(_MARK) - _DIGITS)
    mark, written = file.read(len(_MARK)), file.read()
    file.seek(0)
    return mark == _MARK and _digest(file, size - _DIGITS).encode() == written


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _LARGEST_MANIFEST:
            raise DataUnavailable(f"{path} is refused: its manifest is larger than {_LARGEST_MANIFEST} bytes")
        text = archive.read(MANIFEST)
        known = msgspec.json.decode(text)
        if isinstance(known, dict) and isinstance(known.get("format"), int) and known["format"] > FORMAT:
            raise DataUnavailable(
                f"the backup {path} has format {known['format']}, this fullcircle reads up to {FORMAT}",
                hint="restore it with the version that made it, or a newer one",
            )
        return msgspec.convert(known, Manifest)
    except KeyError as error:
        raise DataUnavailable(f"{path} is no backup: it has no {MANIFEST}") from error
    except (msgspec.MsgspecError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, MANIFEST) from error


def _first_damaged(archive: zipfile.ZipFile, manifest: Manifest) -> str:
    """The first file that is not what was written; "" when none can be named: the flip lies between them."""
    for each in manifest.files:
        digest, left = hashlib.sha256(), each.size
        try:
            with archive.open(each.name) as source:
                while left >= 0 and (block := source.read(_BLOCK)):
                    digest.update(block)
                    left -= len(block)
        except _BROKEN:
            return each.name
        if left or digest.hexdigest() != each.sha256:
            return each.name
    return ""


def _require_listed(archive: zipfile.ZipFile, manifest: Manifest, path: Path) -> None:
    """Refuse what our writer never makes: a stranger may have made the file, digests and all."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    names = [each.name for each in manifest.files]
    if len(entries) != len(archive.infolist()) or sorted(entries) != sorted({*names, MANIFEST}) or MANIFEST in names:
        raise DataUnavailable(f"{path} is refused: its manifest does not list just the files that are in it")
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for each in manifest.files:
        if (unfit := _unfit(each.name)) or each.name in folders:
            what = f"its name {unfit}" if unfit else "it is a folder, too"
            raise DataUnavailable(f"{path} is refused: it has a file {each.name[:120]!r}, and {what}")
        if abs(each.changed_ns) >= 1 << 63:
            raise DataUnavailable(f"{path} is refused: {each.name} was changed at {each.changed_ns} ns")
        entry = entries[each.name]
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.file_size != each.size or entry.compress_type not in _COMPRESSION:
            raise DataUnavailable(f"{path} is refused: {each.name} is no plain file of {each.size} bytes")
    # Entries that share their bytes are how a small file swells to petabytes.
    if sum(entry.compress_size for entry in entries.values()) > path.stat().st_size:
        raise DataUnavailable(f"{path} is refused: its files overlap")


def require_room(path: Path, manifest: Manifest, folder: Path) -> None:
    """Raises DataUnavailable when the disk of a folder cannot take all files of a backup."""
    needed, free = sum(each.size for each in manifest.files), shutil.disk_usage(folder).free
    if needed > free:
        raise DataUnavailable(
            f"{path} holds {needed:,} bytes, and there are {free:,} free in {folder}", hint="nothing was restored"
        )


def _damaged(path: Path, name: str) -> DataUnavailable:
    where = f": {name} is not what was written" if name else ", between its files"
    return DataUnavailable(
        f"the backup {path} is damaged{where}", hint="nothing was restored; is there another copy of the backup?"
    )
