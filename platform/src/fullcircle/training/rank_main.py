"""The main function of a rank, as every launcher starts it: `run_rank(job)`. What it came to is in the job's folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import psutil

from fullcircle.core.errors import FullcircleError, Preempted, UsageError
from fullcircle.core.project import ModelFunction, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.system.files import write_whole
from fullcircle.training import arrays as files
from fullcircle.training.jobs import FATAL, PREEMPTED, RankJob, TrainJob
from fullcircle.training.launchers.sigterm import sigterm_event
from fullcircle.training.trainers import trainer
from fullcircle.training.training_loop.event_log import Listener

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
        with sigterm_event() as early:
            own = rank_job(job, stop=lambda: early.is_set() or stop())
            trainer(job.family).fit(own, listener)
    except Preempted as preempted:
        write_whole(job.folder / PREEMPTED, json.dumps({"step": preempted.step}))
    except FullcircleError as error:
        said = {"error": type(error).__name__, "what": error.what, "hint": error.hint}
        write_whole(job.folder / FATAL, json.dumps(said))
        raise


def rank_job(job: TrainJob, *, stop: Callable[[], bool] = lambda: False) -> RankJob:
    """What a job's words name: the project's model function and task, and the mapped arrays.

    Raises:
        UsageError: the project has no such model.
        DataUnavailable: the arrays are not there.
    """
    project = load_project(job.project, job.root)
    return RankJob(
        project=project.name,
        task=project.target,
        build=None if job.framework == BASELINE else _model_function(project, job.framework),
        arrays=files.load(job.arrays),
        training=job.training,
        compute=job.compute,
        storage=job.storage,
        folder=job.folder,
        stop=stop,
        profile_steps=job.profile_steps,
        begun=_begun(job),
    )


def _model_function(project: Project, name: str) -> ModelFunction:
    if name not in project.all_models:
        raise UsageError(
            f"project {project.name!r} has no {name} model", hint=f"it has {', '.join(project.frameworks)}"
        )
    return project.all_models[name].build


def _begun(job: TrainJob) -> float:
    """When the launch was; for a rank that replaces another one, when its process began."""
    launched = (job.folder / LAUNCHED).stat().st_mtime if (job.folder / LAUNCHED).exists() else time.time()
    replaced = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return float(psutil.Process().create_time()) if replaced else launched
