"""The baseline model, a logistic regression: the simplest viable model, which the networks are compared with.

The solver is scikit-learn's and the ONNX graph skl2onnx's; which estimator it is, `ESTIMATORS` says by name.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.project.model_specs import BASELINE
from fullcircle.core.records.training import Arrays, EpochMetrics
from fullcircle.core.tasks import Link, Weighting
from fullcircle.training.jobs import RankJob
from fullcircle.training.onnx_file import OPSET, OPSET_ML, save_normalized
from fullcircle.training.results import FitResult, write_result
from fullcircle.training.training_loop.event_log import Listener
from fullcircle.training.training_loop.validation import primary_metric
from fullcircle.training.training_loop.validation_losses import mean_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY = 1.0
"""Weight of the squared coefficients beside the summed log loss: only guards against separable columns."""


EXACT_BYTES, EXACT_FEATURES = 256 << 20, 2_000
"""Up to so many bytes of training rows and so many features the optimum is solved for exactly. Newton's method copies
the rows and needs a matrix of features by features; L-BFGS takes 24 bytes a row, and stops near the optimum."""


def _logistic_regression(x: NDArray[np.float32]) -> Any:
    from sklearn.linear_model import LogisticRegression

    if x.nbytes <= EXACT_BYTES and x.shape[1] <= EXACT_FEATURES:
        return LogisticRegression(C=1 / PENALTY, solver="newton-cholesky", tol=1e-6)
    # The products are in float32, so a finer tolerance would chase rounding.
    return LogisticRegression(C=1 / PENALTY, solver="lbfgs", tol=1e-4, max_iter=200)


ESTIMATORS: Mapping[str, Callable[[NDArray[np.float32]], Any]] = MappingProxyType(
    {"logistic_regression": _logistic_regression}
)
"""The baseline's estimator, by name: from the training rows, float32 (rows, features), to one that is not fitted."""


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
        model = _solve(ESTIMATORS[task.baseline], arrays, weighting)
        metrics = _metrics(model, job, weighting, link, start)
        if listener is not None:
            listener.epoch(metrics)
        fitted = BaselineFitted(_answering(model, link), (metrics,), arrays.shape)
        result = FitResult(weights={"coefficients": fitted.coefficients}, history=(metrics,), best_epoch=1)
        write_result(job.folder, result)

    def fitted(self, job: RankJob, result: FitResult) -> BaselineFitted:
        """The estimator with these coefficients (`ports.Trainer`)."""
        model, coefficients = ESTIMATORS[job.task.baseline](_flat(job.arrays.x_train)), result.weights["coefficients"]
        model.coef_, model.intercept_ = coefficients[None, :-1], coefficients[-1:]
        model.classes_, model.n_features_in_ = np.array([False, True]), len(coefficients) - 1
        return BaselineFitted(model, result.history, job.arrays.shape)


def _answering(model: Any, link: Link) -> Any:
    """The model with the link's offset in its intercept: its class weights are undone."""
    model.intercept_ = (model.intercept_ + link.offset[0]).astype(np.float32)
    return model


class BaselineFitted:
    """A fitted logistic regression (`core.records.training.Fitted`), its class weights undone.

    Features of more than one dimension, as those of an image, are taken as one flat row.
    """

    framework = "baseline"

    def __init__(self, model: Any, history: tuple[EpochMetrics, ...], shape: tuple[int, ...]) -> None:
        self.history = history
        self.best_epoch = 1
        self._shape = shape
        self._model = model

    @property
    def coefficients(self) -> NDArray[np.float32]:
        """Of the features, the intercept last: float32 (features + 1,)."""
        return np.append(self._model.coef_, self._model.intercept_).astype(np.float32)

    def answers(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers, float32 (rows,) or (rows, numbers) (`core.records.training.Fitted`)."""
        from scipy.special import expit

        return np.asarray(expit(_logits(self._model, features)), dtype=np.float32)

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `answers` (rows, numbers)."""
        from skl2onnx.algebra.onnx_operator import OnnxSubEstimator
        from skl2onnx.algebra.onnx_ops import OnnxFlatten, OnnxSlice
        from skl2onnx.common.data_types import FloatTensorType

        begin, end, axis = (np.array([number], np.int64) for number in (1, 2, 1))
        flat = OnnxFlatten("features", axis=1, op_version=OPSET)
        classes = OnnxSubEstimator(self._model, flat, op_version=OPSET, options={"zipmap": False})
        positive = OnnxSlice(classes[1], begin, end, axis, op_version=OPSET, output_names=["answers"])
        graph = positive.to_onnx(
            [("features", FloatTensorType([None, *self._shape]))],
            outputs=[("answers", FloatTensorType([None, 1]))],
            target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML},
        )
        save_normalized(graph, path)


def _flat(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features.reshape(len(features), math.prod(features.shape[1:]))  # -1 cannot be told of no rows


def _logits(model: Any, features: NDArray[np.float32]) -> NDArray[np.float32]:
    # Not decision_function: that refuses no rows.
    logits: NDArray[np.float32] = _flat(features) @ model.coef_[0] + model.intercept_[0]
    return logits


def _solve(estimator: Callable[[NDArray[np.float32]], Any], arrays: Arrays, weighting: Weighting) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    hopeless = TrainingFailed("baseline: the loss of epoch 1 is not finite", hint="look for huge values in the columns")
    x = _flat(arrays.x_train)
    model = estimator(x)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():  # what is not finite is reported below
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, arrays.y_train > 0.5, sample_weight=weighting.rows(arrays.y_train))
    except ValueError as error:  # of scikit-learn, for NaN and infinity
        raise hopeless from error
    if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
        raise hopeless
    return model


def _metrics(model: Any, job: RankJob, weighting: Weighting, link: Link, start: float) -> EpochMetrics:
    arrays, task = job.arrays, job.task
    row_weights = weighting.rows(arrays.y_train)
    penalty = 0.5 * PENALTY * float(np.square(model.coef_, dtype=np.float64).sum())
    outputs, targets = _logits(model, arrays.x_validation), arrays.y_validation
    return EpochMetrics(
        epoch=1,
        train_loss=mean_loss(task.loss, _logits(model, arrays.x_train), arrays.y_train, row_weights)
        + penalty / float(row_weights.sum(dtype=np.float64)),
        validation_loss=mean_loss(task.loss, outputs, targets, weighting.rows(targets)),
        validation={task.primary: primary_metric(task, link, outputs, targets)},
        seconds=time.perf_counter() - start,
    )


TRAINER = BaselineTrainer()
"""The entry of `training.trainers`."""
