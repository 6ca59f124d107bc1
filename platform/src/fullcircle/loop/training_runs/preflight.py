"""Preflight checks: refuses what cannot be trained or resumed, before any work is done."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.settings import Settings
from fullcircle.data.partitions import partitions
from fullcircle.loop import progress
from fullcircle.loop.training_runs.run_fingerprint import JOB
from fullcircle.loop.training_runs.run_training import job_folder
from fullcircle.loop.workspace import Workspace
from fullcircle.training.checkpoints.checkpoint_store import LATEST
from fullcircle.training.launchers.resolve import resolve_launcher
from fullcircle.training.parameters import for_model
from fullcircle.training.telemetry.tensorboard import require_tensorboard
from fullcircle.training.trainers import FAMILIES

if TYPE_CHECKING:
    from fullcircle.tracking.runs.run_store import RunState, RunStore

KIND = "train"
"""Tag `fullcircle.kind` of the run of such a training."""


def require_trainable(project: Project, framework: str, tensorboard: bool) -> None:
    """Refuse what could not be trained.

    Raises:
        UsageError: an unknown framework, or one that the project has no model in; an unknown place; parameters that do
            not fit it; TensorBoard is asked for and not installed.
    """
    has = (BASELINE, *project.frameworks)
    if framework not in {*FAMILIES, *has}:
        raise UsageError(f"no framework {framework!r}", hint=f"project {project.name!r} has {', '.join(has)}")
    if framework not in has:
        raise UsageError(
            f"project {project.name!r} has no function that builds a model in {framework}",
            hint=f"it has {', '.join(has)}; project.py names others as {framework}=build_{framework}",
        )
    parameters_of = for_model(project.training, framework, project.frameworks)
    family = BASELINE if framework == BASELINE else project.all_models[framework].family
    if not FAMILIES[family].one_process:
        resolve_launcher(project.compute.where, project.compute, batch_size=parameters_of.batch_size)
    if tensorboard:
        require_tensorboard()


def original_request(run_store: RunStore, project: Project, state: RunState, framework: str | None) -> dict[str, Any]:
    """What was written down when the run began. Raises UsageError unless it may be resumed as this."""
    name, of = f"run {state.run_id}", state.tags.get("fullcircle.project", "?")
    if of != project.name:
        raise UsageError(f"{name} is of project {of!r}, not of {project.name!r}", hint=f"name that one: {of}")
    if state.tags.get("fullcircle.kind") in ("tune", "trial"):
        raise UsageError(f"{name} is part of a study", hint=f"'fullcircle tune {project.name}' goes on with it")
    if state.tags.get("fullcircle.kind") != KIND:
        raise UsageError(
            f"{name} is part of a retrain (a {state.tags.get('fullcircle.kind', '?')})",
            hint=f"the next 'fullcircle run {project.name}' goes on with it",
        )
    trained = state.tags.get("fullcircle.framework", "?")
    if framework is not None and framework != trained:
        raise UsageError(f"{name} is of framework {trained!r}, not {framework!r}", hint="leave --framework out")
    if state.finished:
        raise UsageError(f"{name} is finished; there is nothing to resume", hint="train again for another run")
    try:
        found: dict[str, Any] = json.loads(run_store.download(state.run_id, JOB).read_text())
    except DataUnavailable as error:
        raise UsageError(f"{name} was stopped before it could be resumed", hint="train again") from error
    return found


def require_checkpoint(project: Project, settings: Settings, run_id: str) -> None:
    """Raises UsageError when a stopped training left nothing to go on from."""
    import fsspec

    stored = project.compute.storage
    place = f"{stored.rstrip('/')}/{run_id}" if stored else str(settings.home / "jobs" / run_id / "checkpoints")
    files, root = fsspec.core.url_to_fs(place)
    if not files.exists(f"{root}/{LATEST}"):
        raise UsageError(f"run {run_id} has no checkpoint in {place}", hint="train again: nothing of it is left")


def with_data(project: Project, workspace: Workspace, version: DataVersion, until: datetime, run_id: str) -> Project:
    """The project with the partitions of just this data version: its own, or restored ones where these have changed.

    Raises:
        DataUnavailable: they have changed, and the remote does not have the version either.
    """
    with contextlib.suppress(DataUnavailable):
        if workspace.data_versions.commit(project, partitions(project, until)).digest == version.digest:
            return project
    folder = job_folder(workspace.settings, run_id) / "data"
    shutil.rmtree(folder, ignore_errors=True)
    workspace.data_versions.restore(version, folder)
    progress.current().stage("restore the data", f"{version.digest[:12]}: the partitions here have changed")
    return dataclasses.replace(project, data=str(folder.resolve()))
