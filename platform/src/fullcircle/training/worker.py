"""One rank of a job, as every place starts it: `run(job)`. It leaves what it did in the job's folder.

rank-<r>.jsonl           its journal
rank-<r>.use.json        what it used (`RankUse`)
result.json, best.npz    by rank 0, when the training is done
preempted.json           by rank 0: told to stop, and the checkpoint of this step is written
fatal.json               an error that a restart would not mend; a restarted rank returns at once
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from fullcircle.core import errors
from fullcircle.core.errors import FullcircleError, Preempted
from fullcircle.core.project import ModelFunction, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.system.files import replacing, write_whole
from fullcircle.training import arrays as files
from fullcircle.training.frameworks import framework
from fullcircle.training.jobs import BEST, FATAL, PREEMPTED, RESULT, RankUse, TrainJob
from fullcircle.training.journal import Journal, Listener
from fullcircle.training.learning import Task, learn
from fullcircle.training.ports import Tensors, World
from fullcircle.training.standing import Standing, best_epoch

LAUNCHED = "launched"
"""An empty file whose time says when the job was launched."""


def run(job: TrainJob, *, listener: Listener | None = None, stop: Callable[[], bool] = lambda: False) -> None:
    """Train as one rank, in the world that the environment names.

    Args:
        listener: hears at once what rank 0 does; for the process that trains inline.
        stop: a further reason to stop, beside SIGTERM: a place's own notice of preemption.

    Raises:
        FullcircleError: it is written to fatal.json too. Preempted is not raised: it is in preempted.json.
    """
    if (job.folder / FATAL).exists():
        return
    try:
        chosen = framework(job.framework)
        # Twice: when its workers join, TensorFlow puts a SIGTERM handler of its own over ours.
        with told_to_stop() as early, chosen.world(job.compute) as world, told_to_stop() as told:
            _as_rank(job, world, listener, stop=lambda: early.is_set() or told.is_set() or stop())
    except Preempted as preempted:
        write_whole(job.folder / PREEMPTED, json.dumps({"step": preempted.step}))
    except FullcircleError as error:
        said = {"error": type(error).__name__, "what": error.what, "hint": error.hint}
        write_whole(job.folder / FATAL, json.dumps(said))
        raise


def model_function(project: Project, name: str) -> ModelFunction:
    """The project's function that builds the model of this framework.

    Raises:
        UsageError: the project has none.
    """
    function = getattr(project, name, None)
    if function is None:
        raise errors.UsageError(
            f"project {project.name!r} has no {name} model", hint=f"it has {', '.join(project.frameworks)}"
        )
    found: ModelFunction = function
    return found


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that is set by SIGTERM; only the main thread can listen for signals, others never hear of it."""
    told = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        told.set()

    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


def result(folder: Path) -> tuple[Tensors, tuple[EpochMetrics, ...], int]:
    """What rank 0 left: the best weights, the history, and how many processes there were."""
    value = json.loads((folder / RESULT).read_text())
    history = tuple(EpochMetrics(**epoch) for epoch in value["history"])
    with np.load(folder / BEST, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}, history, int(value["size"])


def raise_what_stopped(folder: Path) -> None:
    """Raise what the ranks wrote: the error of fatal.json, or Preempted."""
    if (path := folder / FATAL).exists():
        note = json.loads(path.read_text())  # of the errors that training raises: all are made of what and hint
        kind = getattr(errors, note["error"], FullcircleError)
        raise kind(note["what"], hint=note["hint"])
    if (path := folder / PREEMPTED).exists():
        step = int(json.loads(path.read_text())["step"])
        raise Preempted(f"preempted at step {step:,}: its checkpoint is written", step=step)


def _as_rank(job: TrainJob, world: World, listener: Listener | None, stop: Callable[[], bool]) -> None:
    project = load_project(job.project, job.root)
    task = Task(
        project=project.name,
        build=model_function(project, job.framework),
        arrays=files.load(job.arrays),
        training=job.training,
        compute=job.compute,
        storage=job.storage,
        folder=job.folder,
        stop=stop,
        profile_steps=job.profile_steps,
        begun=_begun(job),
    )
    journal = Journal(job.folder / f"rank-{world.rank}.jsonl", listener)
    try:
        standing, use = learn(framework(job.framework), task, world, journal)
    finally:
        journal.close()
    _leave(job, world, standing, use)


def _begun(job: TrainJob) -> float:
    """When the launch was; for a rank that replaces another one, when its process began."""
    launched = (job.folder / LAUNCHED).stat().st_mtime if (job.folder / LAUNCHED).exists() else time.time()
    replaced = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return Path(f"/proc/{os.getpid()}").stat().st_ctime if replaced else launched


def _leave(job: TrainJob, world: World, standing: Standing, use: RankUse) -> None:
    write_whole(job.folder / f"rank-{world.rank}.use.json", json.dumps(dataclasses.asdict(use)))
    if world.rank == 0:
        with replacing(job.folder / BEST) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **standing.best)
        history = [dataclasses.asdict(epoch) for epoch in standing.history]
        done = {"history": history, "best": best_epoch(standing.history), "size": world.size}
        write_whole(job.folder / RESULT, json.dumps(done))
