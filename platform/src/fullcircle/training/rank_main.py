"""The main function of a rank, as every launcher starts it: `run_rank(job)`. It writes its results to the job's folder.

rank-<r>.events           its event log
rank-<r>.use.json        time, processor and memory that it used (`RankStats`)
result.json, best.npz    by rank 0, when the training is done
preempted.json           by rank 0: asked to stop, and the checkpoint of this step is written
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
import psutil

from fullcircle.core import errors
from fullcircle.core.errors import FullcircleError, Preempted
from fullcircle.core.project import ModelFunction, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.system.files import replacing, write_whole
from fullcircle.training import arrays as files
from fullcircle.training.frameworks import framework
from fullcircle.training.jobs import BEST, FATAL, PREEMPTED, RESULT, RankStats, TrainJob
from fullcircle.training.ports import ProcessGroup, Tensors
from fullcircle.training.training_loop.event_log import EventLog, Listener
from fullcircle.training.training_loop.rank_job import RankJob, train_rank
from fullcircle.training.training_loop.train_state import TrainState, best_epoch

LAUNCHED = "launched"
"""An empty file whose time says when the job was launched."""


def run_rank(job: TrainJob, *, listener: Listener | None = None, stop: Callable[[], bool] = lambda: False) -> None:
    """Train as one rank, in the process group that the environment names.

    Args:
        listener: hears at once what rank 0 does; for the process that trains inline.
        stop: a further reason to stop, beside SIGTERM: a launcher's own notice of preemption.

    Raises:
        FullcircleError: it is written to fatal.json too. Preempted is not raised: it is in preempted.json.
    """
    if (job.folder / FATAL).exists():
        return
    try:
        chosen = framework(job.framework)
        # Twice: when its workers join, TensorFlow puts a SIGTERM handler of its own over ours.
        with sigterm_event() as early, chosen.process_group(job.compute) as process_group, sigterm_event() as stopped:
            _train(job, process_group, listener, stop=lambda: early.is_set() or stopped.is_set() or stop())
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
def sigterm_event() -> Iterator[threading.Event]:
    """An event that is set by SIGTERM; only the main thread can listen for signals, others never hear of it."""
    stopped = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def read_result(folder: Path) -> tuple[Tensors, tuple[EpochMetrics, ...], int]:
    """What rank 0 left: the best weights, the history, and how many processes there were."""
    value = json.loads((folder / RESULT).read_text())
    history = tuple(EpochMetrics(**epoch) for epoch in value["history"])
    with np.load(folder / BEST, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}, history, int(value["size"])


def raise_reported_error(folder: Path) -> None:
    """Raise what the ranks wrote: the error of fatal.json, or Preempted."""
    if (path := folder / FATAL).exists():
        note = json.loads(path.read_text())  # of the errors that training raises: all are made of what and hint
        kind = getattr(errors, note["error"], FullcircleError)
        raise kind(note["what"], hint=note["hint"])
    if (path := folder / PREEMPTED).exists():
        step = int(json.loads(path.read_text())["step"])
        raise Preempted(f"preempted at step {step:,}: its checkpoint is written", step=step)


def _train(job: TrainJob, process_group: ProcessGroup, listener: Listener | None, stop: Callable[[], bool]) -> None:
    project = load_project(job.project, job.root)
    rank_job = RankJob(
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
    event_log = EventLog(job.folder / f"rank-{process_group.rank}.events", listener)
    try:
        state, stats = train_rank(framework(job.framework), rank_job, process_group, event_log)
    finally:
        event_log.close()
    _write_results(job, process_group, state, stats)


def _begun(job: TrainJob) -> float:
    """When the launch was; for a rank that replaces another one, when its process began."""
    launched = (job.folder / LAUNCHED).stat().st_mtime if (job.folder / LAUNCHED).exists() else time.time()
    replaced = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return float(psutil.Process().create_time()) if replaced else launched


def _write_results(job: TrainJob, process_group: ProcessGroup, state: TrainState, stats: RankStats) -> None:
    write_whole(job.folder / f"rank-{process_group.rank}.use.json", json.dumps(dataclasses.asdict(stats)))
    if process_group.rank == 0:
        with replacing(job.folder / BEST) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **state.best)
        history = [dataclasses.asdict(epoch) for epoch in state.history]
        done = {"history": history, "best": best_epoch(state.history), "size": process_group.size}
        write_whole(job.folder / RESULT, json.dumps(done))
