"""Checkpoints of a fit: arrays and history in one .npz, whole or absent, with nothing pickled in it.

A checkpoint names what it belongs to (data, parameters, model). One that belongs to another fit, or that is damaged,
is not resumed: going on from foreign weights would break "same seed, same weights".
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.models import Arrays, EpochMetrics
from fullcircle.core.project import Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "checkpoint.npz"

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function in a module's text: another one in each process

Tensors = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a fit needs to go on as if it had never stopped.

    Attributes:
        state: weights, optimizer and random state after the last epoch.
        best: weights after the best epoch.
        history: every epoch so far.
    """

    fingerprint: str
    state: Tensors
    best: Tensors
    history: Sequence[EpochMetrics]


def fingerprint(framework: str, architecture: str, params: Training, arrays: Arrays) -> str:
    """SHA-256 of what decides the weights: framework, model, parameters and the very rows."""
    sha = hashlib.sha256()
    layers = _ADDRESS.sub("", architecture)
    sha.update(json.dumps([framework, layers, dataclasses.asdict(params)], sort_keys=True, default=repr).encode())
    for field in dataclasses.fields(arrays):
        values = np.ascontiguousarray(getattr(arrays, field.name))
        sha.update(f"{field.name}{values.shape}{values.dtype}".encode())
        sha.update(values.data)
    return sha.hexdigest()


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint. Raises HomeUnwritable when the disk is full or read-only."""
    meta = {
        "fingerprint": checkpoint.fingerprint,
        "history": [dataclasses.asdict(epoch) for epoch in checkpoint.history],
    }
    content: dict[str, NDArray[Any]] = {"meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)}
    content |= {f"state/{name}": values for name, values in checkpoint.state.items()}
    content |= {f"best/{name}": values for name, values in checkpoint.best.items()}
    part = folder / f".{FILE}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise HomeUnwritable(
            f"cannot write the checkpoint {folder / FILE} ({error.strerror or error})", hint="free some space there"
        ) from error


def load(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The folder's checkpoint if it belongs to this very fit, else None."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(bytes(file["meta"]))
            if meta["fingerprint"] != fingerprint:
                return None
            parts = {name: file[name] for name in file.files if name != "meta"}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # torn, or no file of ours
        return None
    return Checkpoint(
        fingerprint=fingerprint,
        state={name.removeprefix("state/"): values for name, values in parts.items() if name.startswith("state/")},
        best={name.removeprefix("best/"): values for name, values in parts.items() if name.startswith("best/")},
        history=tuple(EpochMetrics(**epoch) for epoch in meta["history"]),
    )
