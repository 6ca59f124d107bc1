"""Trains the candidates of one retrain, each in an MLflow run of its own, and evaluates them on the test rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Project, Task
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.records.training import Fitted, Preprocessor, Scorer, model_params
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.settings import Settings
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.training_runs.run_fingerprint import JOB, recipe
from fullcircle.loop.training_runs.run_training import job_folder, load_finished_job, run_job
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.ui.ui_links import links
from fullcircle.training.arrays import store
from fullcircle.training.jobs import job_of
from fullcircle.training.preprocessing.tabular import fit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.records.dataset import DataVersion, Split, SplitFrames
    from fullcircle.tracking.runs.run_store import RunState
    from fullcircle.training.jobs import TrainJob

ARRAYS = "arrays"
"""In a job's folder (of a retrain: of its parent run): the memory-mapped rows."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What every candidate of a retrain shares: the rows, the fitted preprocessing, and the folder of the arrays that
    all processes of all trainings map."""

    frames: SplitFrames
    preprocessor: Preprocessor
    arrays: Path
    x_test: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion of this moment and its answers on the test rows."""

    version: ModelVersion
    score: Scorer
    answers: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One candidate: its model, its run and how it does on the test rows, `answers` being its own to them. Its working
    files are under `key`, see `RunState.key`."""

    framework: str
    run_id: str
    key: str
    fitted: Fitted
    answers: NDArray[np.float32]
    evaluation: Evaluation

    @property
    def validation(self) -> float:
        """The task's primary metric on the validation rows at the best epoch."""
        return self.fitted.history[self.fitted.best_epoch - 1].primary[1]


def prepare(project: Project, frames: SplitFrames, folder: Path) -> Prepared:
    """Fit the preprocessing on the training rows alone and write all rows as arrays below `folder`."""
    preprocessor = fit(project, frames.train)
    store(project, preprocessor, frames, folder / ARRAYS)
    progress.current().stage("preprocess", f"{len(project.inputs)} raw columns, {len(preprocessor.features)} features")
    return Prepared(
        frames=frames,
        preprocessor=preprocessor,
        arrays=folder / ARRAYS,
        x_test=preprocessor.transform(frames.test),
    )


def load_champion(project: Project, workspace: Workspace, test: pd.DataFrame) -> Champion | None:
    """The champion and its answers on the test rows; None before the first release."""
    registry = workspace.registry
    version = registry.alias(project.name, CHAMPION)
    if version is None:
        return None
    graph = Graph.load(registry.graph(version), digest=version.digest)
    return Champion(version=version, score=graph, answers=graph(test))


def train(
    project: Project,
    workspace: Workspace,
    framework: str,
    prepared: Prepared,
    champion: Champion | None,
    learned_from: tuple[DataVersion, Split],
    parent: str,
    earlier: Mapping[str, RunState],
) -> Trained:
    """Train one framework's candidate in a run of its own and evaluate it on the test rows.

    Args:
        earlier: framework -> run, of a retrain that was stopped: what is finished is not trained again, and what is
            not goes on in its run.
    """
    progress.current().stage(f"train {framework}")
    known = earlier.get(framework)
    if known is not None and known.finished:
        progress.current().note(f"{framework} was trained before the retrain was stopped")
        done = load_finished_job(_job(project, workspace.settings, framework, prepared, learned_from, known.key))
        return evaluate_candidate(project, framework, (known.run_id, known.key), done.fitted, prepared, champion)
    run_store, tags = workspace.run_store, {"fullcircle.framework": framework}
    with (
        run_store.resume(known.run_id, project=project)
        if known is not None
        else run_store.start(project, name=framework, kind="candidate", parent=parent, tags=tags)
    ) as run:
        if known is None:
            run.data(*learned_from)
            run.json({"framework": framework, **recipe(project)}, JOB)
            run.note(links(run.experiment_id, retrain=parent, data=learned_from[0].digest))
        run.params(parameters(project, framework, prepared))
        job = _job(project, workspace.settings, framework, prepared, learned_from, run.key)
        fitted = run_job(project, workspace.settings, run, job, rows=len(prepared.frames.train)).outcome.fitted
        trained = evaluate_candidate(project, framework, (run.id, run.key), fitted, prepared, champion)
        run.evaluation(project.target, trained.evaluation, "test")
    return trained


def parameters(project: Project, framework: str, prepared: Prepared) -> dict[str, object]:
    """What a run's list of parameters says."""
    return model_params(project.training) | {"framework": framework, "features": len(prepared.preprocessor.features)}


def best(trained: Sequence[Trained], task: Task) -> Trained:
    """The candidate with the best primary metric on the VALIDATION rows: test rows only judge, they never choose."""
    sign = 1.0 if task.main.greater_is_better else -1.0

    def gain(one: Trained) -> float:
        return sign * one.validation if math.isfinite(one.validation) else -math.inf

    return max((one for one in trained if one.framework != BASELINE), key=gain)


def stable_seed(*parts: str) -> int:
    """A seed that depends on nothing but the words given."""
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:4], "big")


def _job(
    project: Project,
    settings: Settings,
    framework: str,
    prepared: Prepared,
    learned_from: tuple[DataVersion, Split],
    run_id: str,
) -> TrainJob:
    return job_of(
        project,
        framework=framework,
        data=learned_from[0].digest,
        arrays=prepared.arrays,
        run_id=run_id,
        folder=job_folder(settings, run_id),
    )


def evaluate_candidate(
    project: Project,
    framework: str,
    run: tuple[str, str],
    fitted: Fitted,
    prepared: Prepared,
    champion: Champion | None,
) -> Trained:
    """How a fitted model does on the test rows, beside the champion when there is one.

    Args:
        run: its id and its key.
    """
    answers = fitted.answers(prepared.x_test)
    against = champion.answers if champion else None
    evaluation = evaluate(project, framework, prepared.frames.test, answers, champion=against)
    return Trained(
        framework=framework,
        run_id=run[0],
        key=run[1],
        fitted=fitted,
        answers=answers,
        evaluation=evaluation,
    )
