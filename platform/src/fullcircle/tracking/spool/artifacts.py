"""Artifacts in the spool: copied there with their SHA-256, and verified before they are uploaded."""

from __future__ import annotations

import posixpath
import re
import shutil
import uuid
from pathlib import Path

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.settings import home_unwritable
from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.spool.spool_file import Artifact

FOLDER = "artifacts"
_LOST_IN_AN_ADDRESS = re.compile(r"[#?\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")
"""MLflow's client puts names into addresses as they are: a server would keep `a#b` as `a`, over another file."""


def copy_file(spool: Path, source: Path, folder: str) -> Artifact:
    """Copy a file into the spool folder; later changes of `source` are not seen.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: MLflow could not keep it under this name.
        HomeUnwritable: the copy cannot be written.
    """
    _require_path(folder, source.name)
    with source.open("rb") as file:
        target = _place(spool, source.name)
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except OSError as error:
            raise home_unwritable(spool, error) from error
    return _entry(spool, target, folder)


def write_text(spool: Path, text: str, artifact_path: str) -> Artifact:
    """A text as an artifact at this path within the run. Raises UsageError and HomeUnwritable, as `copy_file`."""
    folder, _, name = artifact_path.rpartition("/")
    _require_path(folder, name)
    target = _place(spool, name)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise home_unwritable(spool, error) from error
    return _entry(spool, target, folder)


def verify(spool: Path, artifact: Artifact) -> Path:
    """The file of an artifact, with just the bytes that were put there. Raises DataUnavailable."""
    path = spool / artifact.file
    if not path.exists():
        raise DataUnavailable(f"{path} is gone from the spool")
    if sha256_of(path) != artifact.sha256:
        raise DataUnavailable(f"{path} has changed in the spool: it does not match its SHA-256")
    return path


def delete(spool: Path, artifact: Artifact) -> None:
    """Remove the file of an artifact that the tracker has. Safe to call twice."""
    path = spool / artifact.file
    path.unlink(missing_ok=True)
    if path.parent != spool / FOLDER and path.parent.exists():
        path.parent.rmdir()


def _require_path(folder: str, name: str) -> None:
    """Refuse now what could never be sent, and would hold up all that is logged behind it."""
    path = f"{folder}/{name}" if folder else name
    outside = path.startswith(("/", "../")) or path in (".", "..")
    if outside or posixpath.normpath(path) != path or _LOST_IN_AN_ADDRESS.search(path):
        raise UsageError(
            f"MLflow cannot keep an artifact as {path!r}",
            hint="a relative path without '..', '#', '?', control characters, and '%' before two digits",
        )


def _place(spool: Path, name: str) -> Path:
    # A folder each: MLflow names an artifact as its file is named.
    folder = spool / FOLDER / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise home_unwritable(spool, error) from error
    return folder / name


def _entry(spool: Path, path: Path, folder: str) -> Artifact:
    return Artifact(file=str(path.relative_to(spool)), folder=folder, sha256=sha256_of(path), size=path.stat().st_size)
