"""The baseline model, linear in the features: the simplest viable model, which the networks are compared with.

The solver is scikit-learn's and the ONNX graph skl2onnx's; which estimator it is, `ESTIMATORS` says by name.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.tasks import Link, Weighting
from fullcircle.training.jobs import RankJob
from fullcircle.training.links import answers, settled
from fullcircle.training.on_sklearn import graph
from fullcircle.training.on_sklearn.estimators import ESTIMATORS, PENALTY
from fullcircle.training.results import FitResult, write_result
from fullcircle.training.training_loop.event_log import Listener
from fullcircle.training.training_loop.validation import primary_metric
from fullcircle.training.training_loop.validation_losses import mean_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BaselineTrainer:
    """Fits the estimator that the task names (`ports.Trainer`): one epoch, no seed, no checkpoints."""

    name = BASELINE

    def check(self, job: RankJob, size: int) -> None:
        """Refuse targets that could not be learned from (`ports.Trainer`)."""
        job.task.require_learnable({"training": job.arrays.y_train, "validation": job.arrays.y_validation})

    def fit(self, job: RankJob, listener: Listener | None = None) -> None:
        """Solve for the optimum; it takes seconds (`ports.Trainer`).

        Raises:
            TrainingFailed: no finite solution.
        """
        arrays, task = job.arrays, job.task
        weighting = task.weighting(arrays.y_train, balanced=job.training.class_weights)
        link = task.link(arrays.y_train, weighting)
        start = time.perf_counter()
        outputs = _solve(job, link, weighting)
        metrics = _metrics(outputs, job, weighting, link, start)
        if listener is not None:
            listener.epoch(metrics)
        result = FitResult(weights={"coefficients": _answering(outputs, link)}, history=(metrics,), best_epoch=1)
        write_result(job.folder, result)

    def fitted(self, job: RankJob, result: FitResult) -> BaselineFitted:
        """The model with these coefficients (`ports.Trainer`)."""
        arrays, task = job.arrays, job.task
        link = task.link(arrays.y_train, task.weighting(arrays.y_train, balanced=job.training.class_weights))
        # Of one output a version wrote them flat.
        coefficients = result.weights["coefficients"].reshape(task.outputs, -1)

        def made(link: Link) -> BaselineFitted:
            return BaselineFitted(coefficients, link, result.history, arrays.shape)

        return made(settled(task, link, arrays, made))


def _answering(coefficients: NDArray[Any], link: Link) -> NDArray[np.float32]:
    """Coefficients of what the link's function is taken of, float32: its offset and scale are in them.

    The offset undoes class weights, or brings a standardised target back to its unit.
    """
    found = coefficients * coefficients.dtype.type(link.scale)
    found[:, -1] += np.asarray(link.offset, dtype=found.dtype)
    return np.asarray(found, dtype=np.float32)


class BaselineFitted:
    """A fitted linear model (`core.records.training.Fitted`), its class weights undone.

    Features of more than one dimension, as those of an image, are taken as one flat row.

    Args:
        coefficients: float32 (outputs, features + 1), the intercept last; the link's offset and scale are in them.
    """

    framework = "baseline"

    def __init__(
        self,
        coefficients: NDArray[np.float32],
        link: Link,
        history: tuple[EpochMetrics, ...],
        shape: tuple[int, ...],
    ) -> None:
        self.history = history
        self.best_epoch = 1
        self.coefficients = coefficients
        self._shape = shape
        self._link = dataclasses.replace(link, offset=(0.0,) * len(coefficients), scale=1.0)

    def answers(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers, float32 (rows,) or (rows, numbers) (`core.records.training.Fitted`)."""
        return np.asarray(answers(self._link, _outputs(self.coefficients, features)), dtype=np.float32)

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `answers` (rows, numbers)."""
        graph.save(self.coefficients, self._link, self._shape, path)


def _flat(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features.reshape(len(features), math.prod(features.shape[1:]))  # -1 cannot be told of no rows


def _outputs(coefficients: NDArray[Any], features: NDArray[np.float32]) -> NDArray[Any]:
    """Raw outputs, (rows, outputs)."""
    if len(coefficients) == 1:  # a vector's product, whose sums have the same order whatever the number of rows
        return np.asarray(_flat(features) @ coefficients[0, :-1] + coefficients[0, -1])[:, None]
    return np.asarray(_flat(features) @ coefficients[:, :-1].T + coefficients[:, -1])


def _solve(job: RankJob, link: Link, weighting: Weighting) -> NDArray[Any]:
    from sklearn.exceptions import ConvergenceWarning

    hopeless = TrainingFailed("baseline: the loss of epoch 1 is not finite", hint="look for huge values in the columns")
    arrays, task = job.arrays, job.task
    targets = task.training_targets(np.asarray(arrays.y_train), link)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():  # what is not finite is reported below
            warnings.simplefilter("ignore", ConvergenceWarning)
            solve = ESTIMATORS[task.baseline]
            found = solve(_flat(arrays.x_train), targets, weighting.rows(arrays.y_train), task.objective)
    except ValueError as error:  # of scikit-learn, for NaN and infinity
        raise hopeless from error
    if not np.isfinite(found).all():
        raise hopeless
    return found


def _metrics(coefficients: NDArray[Any], job: RankJob, weighting: Weighting, link: Link, start: float) -> EpochMetrics:
    arrays, task = job.arrays, job.task
    row_weights = weighting.rows(arrays.y_train)
    penalty = 0.5 * PENALTY * float(np.square(coefficients[:, :-1], dtype=np.float64).sum())
    outputs, targets = _outputs(coefficients, arrays.x_validation), np.asarray(arrays.y_validation)

    def loss(outputs: NDArray[Any], targets: NDArray[np.float32], row_weights: NDArray[np.float32]) -> float:
        return mean_loss(task.objective, outputs, task.training_targets(targets, link), row_weights)

    return EpochMetrics(
        epoch=1,
        train_loss=loss(_outputs(coefficients, arrays.x_train), np.asarray(arrays.y_train), row_weights)
        + penalty / float(row_weights.sum(dtype=np.float64)),
        validation_loss=loss(outputs, targets, weighting.rows(targets)),
        validation={task.primary: primary_metric(task, link, outputs, targets)},
        seconds=time.perf_counter() - start,
    )


TRAINER = BaselineTrainer()
"""The entry of `training.trainers`."""
