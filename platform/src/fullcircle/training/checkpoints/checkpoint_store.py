"""Training checkpoints on disk or an object store: each is a folder that is whole or absent; LATEST names the newest.

    <storage>/step-0000000120/     what the ranks wrote, meta.json, best.npz, and last the manifest with all digests
    <storage>/LATEST               "step-0000000120"

A folder is written under another name, brought to the disk (fsync), and renamed; then LATEST is replaced. A kill at any
moment leaves the newest checkpoint but one. On an object store the manifest is uploaded last, which comes to the same.
A checkpoint stores the key of its training (data, parameters, model): resuming from another training's is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fullcircle.core.errors import HomeUnwritable, UsageError
from fullcircle.core.project import Compute, Training
from fullcircle.core.system.files import fsync, sha256_of, write_whole
from fullcircle.core.tasks import Objective
from fullcircle.training.ports import Tensors

FIRST_OBJECTIVE = Objective(loss="binary_cross_entropy")
"""The one objective of the versions whose keys named none."""

LATEST, MANIFEST, META, BEST = "LATEST", "manifest.json", "meta.json", "best.npz"
_NAME = re.compile(r"step-(\d{10})")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function in a module's text: another one in each process


@dataclass(frozen=True, kw_only=True)
class CheckpointKey:
    """What a checkpoint belongs to; every field decides the weights, so all must be equal to go on from it."""

    project: str
    framework: str
    data: str
    """Digest of the rows."""
    parameters: str
    """SHA-256 of parameters, precision and the model's layers."""

    def differences(self, other: CheckpointKey) -> str:
        """In words, what differs: `framework torch, expected keras`."""
        pairs = (
            (field.name, getattr(other, field.name), getattr(self, field.name)) for field in dataclasses.fields(self)
        )
        return ", ".join(f"{name} {got[:12]!r} instead of {mine[:12]!r}" for name, got, mine in pairs if got != mine)


def checkpoint_key(
    project: str,
    framework: str,
    data: str,
    architecture: str,
    training: Training,
    compute: Compute,
    objective: Objective = FIRST_OBJECTIVE,
    inverse: str = "",
) -> CheckpointKey:
    """The mark of a training. Neither the number of processes nor where they run is part of it.

    Nor is `epochs`: a training may be made longer and goes on.

    Args:
        inverse: of the link: whether the targets are learned as they are.
    """
    parameters = {**dataclasses.asdict(training), "epochs": None, "precision": compute.precision}
    if objective != FIRST_OBJECTIVE or inverse:
        parameters["objective"] = [objective.loss, objective.outputs, objective.quantiles, inverse]
    text = json.dumps([_ADDRESS.sub("", architecture), parameters], sort_keys=True, default=repr)
    sha = hashlib.sha256(text.encode()).hexdigest()
    return CheckpointKey(project=project, framework=framework, data=data, parameters=sha)


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint that was read and is whole: its folder (local), what its writer noted, and the best weights."""

    folder: Path
    step: int
    meta: dict[str, Any]
    best: Tensors


class Checkpoints:
    """The checkpoints of one training in one place. One rank alone (0) commits and prunes.

    Args:
        storage: a folder, or an fsspec URL.
        staging: a local folder that all ranks see; parts are written there when the storage is remote.
        keep: how many are kept.
    """

    def __init__(self, storage: str, key: CheckpointKey, *, staging: Path, keep: int) -> None:
        self._key = key
        self._keep = max(1, keep)
        self._remote = _Remote(storage) if "://" in storage and not storage.startswith("file://") else None
        self.folder = staging if self._remote else Path(storage.removeprefix("file://"))
        self.storage = storage

    def part(self, step: int) -> Path:
        """The folder that the ranks write the checkpoint of this step into."""
        return self.folder / f".{_name(step)}.part"

    def begin(self, step: int) -> None:
        """Make the empty part. Raises HomeUnwritable."""
        try:
            shutil.rmtree(self.part(step), ignore_errors=True)
            self.part(step).mkdir(parents=True)
        except OSError as error:
            raise self.unwritable(error) from error

    def commit(self, step: int, meta: dict[str, Any], best: Tensors) -> None:
        """Make the part a checkpoint, the newest one, and remove the oldest beyond `keep`.

        Raises:
            HomeUnwritable: the disk is full; the part is removed and the checkpoints before stay.
        """
        part, made = self.part(step), self.folder / _name(step)
        try:
            (part / META).write_text(json.dumps({"mark": dataclasses.asdict(self._key), "step": step, **meta}))
            with (part / BEST).open("wb") as file:
                np.savez(file, allow_pickle=False, **best)
            _write_manifest(part)
            if self._remote:
                self._remote.put(part, _name(step))
            shutil.rmtree(made, ignore_errors=True)  # damaged, or of a training loop that was taken back
            part.rename(made)
            fsync(self.folder)
            self._name_latest(step)
            self._prune(step)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise self.unwritable(error) from error

    def find(self) -> tuple[StoredCheckpoint | None, list[str]]:
        """The newest checkpoint that is whole, and a sentence for each damaged one that was passed over.

        Raises:
            UsageError: it belongs to another training.
        """
        if self._remote:
            self._remote.fetch(self.folder)
        warnings: list[str] = []
        for step in self._steps():
            folder = self.folder / _name(step)
            if damage := _damage(folder):
                warnings.append(f"checkpoint {folder} is damaged ({damage}); the one before it is used")
                continue
            return self.open(step), warnings
        return None, warnings

    def open(self, step: int) -> StoredCheckpoint:
        """The checkpoint of this step, which `find` found whole. Raises UsageError when it is of another training."""
        folder = self.folder / _name(step)
        meta = json.loads((folder / META).read_text())
        found = CheckpointKey(**meta["mark"])
        if found != self._key:
            raise UsageError(
                f"checkpoint {folder} belongs to another training ({self._key.differences(found)})",
                hint="train from the start in another folder, or bring back what it was trained with",
            )
        with np.load(folder / BEST, allow_pickle=False) as file:
            best = {name: file[name] for name in file.files}
        return StoredCheckpoint(folder, step, meta, best)

    def unwritable(self, error: OSError) -> HomeUnwritable:
        """The one line for a checkpoint that cannot be written."""
        steps = self._steps()
        before = f"; the checkpoint of step {steps[0]} is intact" if steps else ""
        return HomeUnwritable(
            f"cannot write a checkpoint to {self.storage} ({error.strerror or error}){before}",
            hint="free some space there and resume",
        )

    def _steps(self) -> list[int]:
        """Steps that there are folders of, newest first, but nothing newer than LATEST where it can be read."""
        steps = sorted((int(_NAME.fullmatch(p.name)[1]) for p in self._folders()), reverse=True)  # type: ignore[index]
        try:
            latest = _NAME.fullmatch((self.folder / LATEST).read_text().strip())
        except OSError:
            latest = None
        return [step for step in steps if latest is None or step <= int(latest[1])]

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]

    def _name_latest(self, step: int) -> None:
        write_whole(self.folder / LATEST, _name(step), durable=True)
        if self._remote:
            self._remote.put_file(self.folder / LATEST, LATEST)

    def _prune(self, newest: int) -> None:
        for folder in self._folders():
            step = int(_NAME.fullmatch(folder.name)[1])  # type: ignore[index]
            kept = [s for s in self._steps() if s <= newest][: self._keep]
            if step not in kept:
                shutil.rmtree(folder, ignore_errors=True)
                if self._remote:
                    self._remote.remove(folder.name)


class _Remote:
    """The same folders on an object store, by fsspec."""

    def __init__(self, url: str) -> None:
        import fsspec

        self._files, self._root = fsspec.core.url_to_fs(url)

    def put(self, part: Path, name: str) -> None:
        """The manifest last: a folder without one is no checkpoint."""
        files = sorted((path for path in part.rglob("*") if path.is_file()), key=lambda path: path.name == MANIFEST)
        for path in files:
            self.put_file(path, f"{name}/{path.relative_to(part)}")

    def put_file(self, path: Path, name: str) -> None:
        target = f"{self._root}/{name}"
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), target)

    def fetch(self, folder: Path) -> None:
        """Bring the newest checkpoints here that are not here yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files.invalidate_cache()
        if not self._files.exists(f"{self._root}/{LATEST}"):
            return
        self._files.get_file(f"{self._root}/{LATEST}", str(folder / LATEST))
        for path in self._files.ls(self._root, detail=False):
            name = str(path).rstrip("/").rpartition("/")[2]
            if _NAME.fullmatch(name) and not (folder / name / MANIFEST).exists():
                shutil.rmtree(folder / name, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                    self._files.get(f"{self._root}/{name}/", f"{folder / name}/", recursive=True)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(f"{self._root}/{name}", recursive=True)


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _write_manifest(part: Path) -> None:
    files = sorted(path for path in part.rglob("*") if path.is_file())
    manifest = {str(path.relative_to(part)): sha256_of(path) for path in files}
    (part / MANIFEST).write_text(json.dumps(manifest))
    for path in (*files, part / MANIFEST, part):
        fsync(path)


def _damage(folder: Path) -> str:
    """What is wrong with a checkpoint, or nothing: every file of the manifest is there with its digest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, digest in manifest.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if sha256_of(folder / name) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return f"its manifest cannot be read: {type(error).__name__}"
    return ""
