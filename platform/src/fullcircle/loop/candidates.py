"""The candidates of one retrain: what all of them learn from, each one's training and its MLflow run, and the best."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fullcircle.core.models import (
    CHAMPION,
    Arrays,
    EpochMetrics,
    Evaluation,
    Fitted,
    ModelVersion,
    Preprocessor,
    Scorer,
    model_params,
)
from fullcircle.core.project import ModelFunction, Project
from fullcircle.core.settings import Settings
from fullcircle.loop import progress

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.dataset import DataVersion, Split, SplitFrames


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What every candidate of a retrain shares: the rows, the fitted preprocessing and the arrays."""

    frames: SplitFrames
    preprocessor: Preprocessor
    arrays: Arrays
    x_test: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion of this moment and its answers on the test rows."""

    version: ModelVersion
    score: Scorer
    probability: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One candidate: its model, its run and how it does on the test rows (probability: (test rows,))."""

    framework: str
    run_id: str
    fitted: Fitted
    probability: NDArray[np.float32]
    evaluation: Evaluation

    @property
    def validation_auc(self) -> float:
        """ROC AUC on the validation rows at the best epoch."""
        return self.fitted.history[self.fitted.best_epoch - 1].validation_auc


def prepare(project: Project, frames: SplitFrames) -> Prepared:
    """Fit the preprocessing on the training rows alone and turn all rows into arrays."""
    from fullcircle.training.arrays import arrays
    from fullcircle.training.preprocess import fit

    preprocessor = fit(project, frames.train)
    made = arrays(project, preprocessor, frames)
    progress.current().stage("preprocess", f"{len(project.inputs)} raw columns, {len(preprocessor.features)} features")
    return Prepared(frames=frames, preprocessor=preprocessor, arrays=made, x_test=preprocessor.transform(frames.test))


def load_champion(project: Project, settings: Settings, test: pd.DataFrame) -> Champion | None:
    """The champion and its answers on the test rows; None before the first release."""
    from fullcircle.graph.session import Graph
    from fullcircle.tracking.registry import Registry

    registry = Registry(settings)
    version = registry.alias(project.name, CHAMPION)
    if version is None:
        return None
    graph = Graph.load(registry.graph(version), digest=version.digest)
    return Champion(version=version, score=graph, probability=graph(test))


def train(
    project: Project,
    settings: Settings,
    framework: str,
    prepared: Prepared,
    champion: Champion | None,
    learned_from: tuple[DataVersion, Split],
    parent: str,
) -> Trained:
    """Train one framework's candidate in a run of its own and evaluate it on the test rows."""
    from fullcircle.evaluation.evaluate import evaluate
    from fullcircle.tracking.runs import Tracker
    from fullcircle.training.trainers import trainer

    epochs = project.training.epochs
    progress.current().stage(f"train {framework}")
    with Tracker(settings).start(
        project, name=framework, kind="candidate", parent=parent, tags={"fullcircle.framework": framework}
    ) as run:
        run.data(*learned_from)
        run.params(
            model_params(project.training) | {"framework": framework, "features": len(prepared.preprocessor.features)}
        )

        def on_epoch(metrics: EpochMetrics) -> None:
            run.epoch(metrics)
            progress.current().epoch(framework, metrics, epochs)

        with TemporaryDirectory(dir=settings.folder("checkpoints"), prefix=f"{run.id}-") as folder:
            fitted = trainer(framework).fit(
                _model_function(project, framework),
                prepared.arrays,
                project.training,
                checkpoints=Path(folder),
                on_epoch=on_epoch,
            )
        probability = fitted.probability(prepared.x_test)
        champion_probability = champion.probability if champion else None
        evaluation = evaluate(project, framework, prepared.frames.test, probability, champion=champion_probability)
        run.evaluation(evaluation, "test")
        run.metrics({"best_epoch": float(fitted.best_epoch)})
    return Trained(framework=framework, run_id=run.id, fitted=fitted, probability=probability, evaluation=evaluation)


def best(trained: Sequence[Trained]) -> Trained:
    """The candidate with the highest ROC AUC on the VALIDATION rows: the test rows only judge, they never choose."""
    return max((one for one in trained if one.framework != "baseline"), key=lambda one: one.validation_auc)


def stable_seed(*parts: str) -> int:
    """A seed that depends on nothing but the words given."""
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:4], "big")


def _model_function(project: Project, framework: str) -> ModelFunction:
    """The project's function for that framework. The baseline builds no model, so it gets whichever there is."""
    name = framework if framework in project.frameworks else project.frameworks[0]
    function: ModelFunction = getattr(project, name)
    return function
