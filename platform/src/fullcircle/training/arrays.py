"""A split's rows as memory-mapped `.npy` arrays that every framework trains on: all processes map them, none copies.

They are written a part at a time and opened read-only, so a table may be larger than memory: the operating system keeps
what is in use, once for all processes of a machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.core.records.training import Arrays, Preprocessor
from fullcircle.core.row_tensors import identities
from fullcircle.core.settings import home_unwritable

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

CHUNK_ROWS = 65_536
"""Rows that are preprocessed at a time: what bounds the memory beside the raw rows."""

LONGEST_ID = 64
"""Characters of a row's id that are kept: it is there to name a row in a sentence."""
ABOUT = "arrays.json"


def store(project: Project, preprocessor: Preprocessor, frames: SplitFrames, folder: Path) -> Arrays:
    """Preprocess training and validation rows into a folder, whole or absent, and map them.

    The test rows stay raw, for the graph alone. Disk: 4 bytes x rows x features.

    Raises:
        HomeUnwritable: the disk is full or read-only.
    """
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        sha, digests = hashlib.sha256(), {"preprocessing": preprocessor.digest}
        for name, frame in (("train", frames.train), ("validation", frames.validation)):
            rows = _features(preprocessor, frame)
            digests[f"x_{name}"] = _write(part / f"x_{name}.npy", rows, len(frame), sha)
            digests[f"y_{name}"] = _write(part / f"y_{name}.npy", iter([labels(project, frame)]), len(frame), sha)
        # In full width for every row: a long id, of which only the beginning is shown, must not cost kilobytes a row.
        ids = [row_id[:LONGEST_ID] for row_id in identities(frames.train[project.row_id])]
        np.save(part / "ids_train.npy", np.array(ids, dtype=np.str_))
        about = {"digest": sha.hexdigest(), "project": project.name, "digests": digests}
        (part / ABOUT).write_text(json.dumps(about))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise home_unwritable(folder, error) from error
    return load(folder)


def load(folder: Path) -> Arrays:
    """Map the arrays of a folder, read-only. Raises DataUnavailable when a file is missing or is not one of ours."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        mapped: dict[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("x_train", "y_train", "x_validation", "y_validation", "ids_train")
        }
        return Arrays(**mapped, digest=str(about["digest"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataUnavailable(
            f"the arrays in {folder} cannot be read ({error})", hint="train again: they are made from the data version"
        ) from error


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each of a folder's arrays by its name, and of the fitted `preprocessing`; empty where unknown."""
    try:
        found = json.loads((folder / ABOUT).read_text()).get("digests", {})
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()}


def digest(arrays: Arrays) -> str:
    """SHA-256 of the rows; read from where they were written when it is known there."""
    if arrays.digest:
        return arrays.digest
    sha = hashlib.sha256()
    for values in (arrays.x_train, arrays.y_train, arrays.x_validation, arrays.y_validation):
        _add(sha, np.ascontiguousarray(values))
    return sha.hexdigest()


def labels(project: Project, frame: pd.DataFrame) -> NDArray[np.float32]:
    """The targets as the task encodes them, float32 (rows,), or (rows, labels)."""
    return project.target.targets(frame).astype(np.float32)


def _features(preprocessor: Preprocessor, frame: pd.DataFrame) -> Iterator[NDArray[np.float32]]:
    for start in range(0, max(len(frame), 1), CHUNK_ROWS):
        yield preprocessor.transform(frame.iloc[start : start + CHUNK_ROWS])


def _write(path: Path, parts: Iterator[NDArray[np.float32]], rows: int, sha: Any) -> str:
    """Write one array, adding it to `sha`; returns its own SHA-256."""
    made: Any = None
    start, own = 0, hashlib.sha256()
    for part in parts:
        if made is None:
            made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, *part.shape[1:]))
        made[start : start + len(part)] = part
        start += len(part)
        for each in (sha, own):
            _add(each, np.ascontiguousarray(part))
    assert made is not None and start == rows, "every row is written once"
    made.flush()
    return own.hexdigest()


def _add(sha: Any, values: NDArray[Any]) -> None:
    sha.update(f"{values.shape[1:]}{values.dtype}".encode())
    sha.update(values.data)
