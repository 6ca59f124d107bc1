"""Records a training's recipe at its start and the fingerprint of its results at its end, so that it can be reproduced
and compared. Both are small beside the training: a file of the losses, and a page of digests."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fullcircle.core.project.overrides import written
from fullcircle.core.records.fingerprint import COMPUTE, VARIABLES, EpochMark, Fingerprint, Machine
from fullcircle.training.arrays import digests
from fullcircle.training.launchers.devices import detect_hardware
from fullcircle.training.training_loop.event_log import DedupListener, read_events, tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fullcircle.core.project import Project
    from fullcircle.tracking.runs.run_store import RunWriter
    from fullcircle.training.jobs import TrainJob, TrainOutcome

JOB = "training/job.json"
"""Artifact: what is asked of the training. With data and code it is all that repeating it needs."""
FINGERPRINT, LOSSES = "training/fingerprint.json", "training/losses.npy"
"""Artifacts: what came out, as `core.records.fingerprint.Fingerprint`, and every step's loss, float64 (steps,)."""

MAX_LOSSES = 1_000_000
"""Of more steps than that, each second, third, ... loss is kept; the digest is always over all of them."""


def recipe(project: Project) -> dict[str, Any]:
    """Parameters, place and the digest of the code, as they are when a training starts. A part of `JOB`."""
    return {**written(project), "code": code_digest(project.folder)}


def code_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's .py files."""
    sha = hashlib.sha256()
    for name, path in code_files(folder):
        sha.update(f"{name.as_posix()}\0".encode() + path.read_bytes())
    return sha.hexdigest()


def code_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """(name within the folder, path) of its .py files, in order; a hidden folder (a .venv) is no code of it."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            yield name, path


def save_fingerprint(run: RunWriter, job: TrainJob, outcome: TrainOutcome) -> None:
    """Keep the fingerprint of a training that came to its end with its run."""
    import numpy as np

    made, losses = fingerprint(job, outcome)
    run.json(made, FINGERPRINT)
    with TemporaryDirectory() as folder:
        path = Path(folder) / Path(LOSSES).name
        np.save(path, losses)
        run.file(path, str(Path(LOSSES).parent))


def fingerprint(job: TrainJob, outcome: TrainOutcome) -> tuple[Fingerprint, NDArray[np.float64]]:
    """The fingerprint of a training that is done, from its journal, and the step losses that are kept: float64
    (steps,), or each second, third, ... of them."""
    import numpy as np

    seen = _Losses()
    once = DedupListener(seen)  # a rank that was killed and replaced writes a step twice
    for entry in read_events(job.folder / "rank-0.events"):
        tell(once, entry)
    losses = np.frombuffer(seen.losses, dtype=np.float64)
    every = max(1, -(-len(losses) // MAX_LOSSES))
    parameters = written_job(job)
    made = Fingerprint(
        framework=job.framework,
        weights=outcome.weights,
        losses=hashlib.sha256(losses.astype("<f8").tobytes()).hexdigest(),
        steps=len(losses),
        every=every,
        epochs=tuple(
            EpochMark(
                epoch=epoch.epoch,
                step=seen.last_of_epoch.get(epoch.epoch, 0),
                train_loss=float(epoch.train_loss),
                validation_loss=float(epoch.validation_loss),
            )
            for epoch in outcome.history
        ),
        best_epoch=outcome.best_epoch,
        arrays=digests(job.arrays),
        training=parameters["training"],
        compute={name: parameters["compute"][name] for name in COMPUTE},
        place=outcome.where.partition(" ")[0].rstrip(":"),
        world_size=outcome.world_size,
        devices=tuple(use.device for use in outcome.rank_stats),
        machine=machine(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        platform=platform_digest(),
    )
    return made, losses[::every].copy()


def written_job(job: TrainJob) -> dict[str, Any]:
    """A job's parameters of training and compute as plain values."""
    import json

    plain = {"training": dataclasses.asdict(job.training), "compute": dataclasses.asdict(job.compute)}
    found: dict[str, Any] = json.loads(json.dumps(plain, default=repr))
    return found


@lru_cache(maxsize=1)
def machine() -> Machine:
    """This machine. Looked at once a process."""
    return Machine(
        cpu=_cpu(),
        machine=platform.machine(),
        cores=detect_hardware({}).cores,
        gpus=tuple(_gpus()),
        python=platform.python_version(),
    )


@lru_cache(maxsize=1)
def platform_digest() -> str:
    """SHA-256 over this package's own code. Read once a process."""
    return code_digest(Path(__file__).parents[1])


class _Losses:
    """A Listener that keeps every step's loss, and the last step of each epoch."""

    def __init__(self) -> None:
        self.losses = array("d")
        self.last_of_epoch: dict[int, int] = {}

    def epoch(self, metrics: Any) -> None:
        self.last_of_epoch[metrics.epoch] = len(self.losses)

    def steps(self, first: int, losses: Any, norms: Any, rate: float) -> None:
        self.losses.extend(losses)

    def note(self, text: str) -> None:
        pass


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or "unknown"


def _gpus() -> list[str]:
    """As NVIDIA's driver tells them, without a library of it."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if found := re.search(r"^Model:\s*(.+)$", path.read_text(errors="replace"), re.MULTILINE):
            names.append(found.group(1).strip())
    return names
