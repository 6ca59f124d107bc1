"""Artifacts in the spool: copied there with their SHA-256, and looked at again before they are sent."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.files import sha256_of
from fullcircle.core.settings import home_unwritable
from fullcircle.tracking.spool.entries import Artifact

FOLDER = "artifacts"


def spooled(spool: Path, source: Path, folder: str) -> Artifact:
    """Copy a file into the spool folder; later changes of `source` are not seen.

    Raises:
        FileNotFoundError: there is no such file.
        HomeUnwritable: the copy cannot be written.
    """
    with source.open("rb") as file:
        target = _place(spool, source.name)
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except OSError as error:
            raise home_unwritable(spool, error) from error
    return _entry(spool, target, folder)


def spooled_text(spool: Path, text: str, artifact_path: str) -> Artifact:
    """A text as an artifact at this path within the run. Raises HomeUnwritable."""
    folder, _, name = artifact_path.rpartition("/")
    target = _place(spool, name)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise home_unwritable(spool, error) from error
    return _entry(spool, target, folder)


def verified(spool: Path, artifact: Artifact) -> Path:
    """The file of an artifact, with just the bytes that were put there. Raises DataUnavailable."""
    path = spool / artifact.file
    if not path.exists():
        raise DataUnavailable(f"{path} is gone from the spool")
    if sha256_of(path) != artifact.sha256:
        raise DataUnavailable(f"{path} has changed in the spool: it does not match its SHA-256")
    return path


def forget(spool: Path, artifact: Artifact) -> None:
    """Remove the file of an artifact that the tracker has. Safe to call twice."""
    path = spool / artifact.file
    path.unlink(missing_ok=True)
    if path.parent != spool / FOLDER and path.parent.exists():
        path.parent.rmdir()


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
