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
from fullcircle.core.project import ModelFunction, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, OnEpoch
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.training.onnx_file import OPSET, OPSET_ML, save_normalized
from fullcircle.training.parameters import for_framework
from fullcircle.training.weighting import Weights, log_loss, require_both_classes, sigmoid, weights

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
    """Fits a linear model (`core.records.training.Trainer`) in one epoch; the project's model function is not called.

    Args:
        estimator: a key of `ESTIMATORS`.
    """

    framework = "baseline"

    def __init__(self, estimator: str = "logistic_regression") -> None:
        self._estimator = ESTIMATORS[estimator]

    def fit(
        self, build: ModelFunction | None, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> BaselineFitted:
        """Solve for the optimum, so no seed is drawn. It takes seconds: there are no checkpoints.

        Raises:
            TrainingFailed: one class alone in a part of the rows, or no finite solution.
        """
        params = for_framework(params, self.framework)
        require_both_classes(arrays)
        class_weights = weights(arrays.y_train, balanced=params.class_weights)
        start = time.perf_counter()
        model = _solve(self._estimator, arrays, class_weights)
        metrics = _metrics(model, arrays, class_weights, start)
        on_epoch(metrics)
        return BaselineFitted(model, class_weights.shift, (metrics,), arrays.shape)


class BaselineFitted:
    """A fitted logistic regression (`core.records.training.Fitted`), its class weights undone.

    Features of more than one dimension, as those of an image, are taken as one flat row.
    """

    framework = "baseline"

    def __init__(self, model: Any, shift: float, history: tuple[EpochMetrics, ...], shape: tuple[int, ...]) -> None:
        self.history = history
        self.best_epoch = 1
        self._shape = shape
        self._model = model
        model.intercept_ = (model.intercept_ - shift).astype(np.float32)

    @property
    def coefficients(self) -> NDArray[np.float32]:
        """Of the features, the intercept last: float32 (features + 1,)."""
        return np.append(self._model.coef_, self._model.intercept_).astype(np.float32)

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,)."""
        return sigmoid(_logits(self._model, features))

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `probability` (rows, 1)."""
        from skl2onnx.algebra.onnx_operator import OnnxSubEstimator
        from skl2onnx.algebra.onnx_ops import OnnxFlatten, OnnxSlice
        from skl2onnx.common.data_types import FloatTensorType

        begin, end, axis = (np.array([number], np.int64) for number in (1, 2, 1))
        flat = OnnxFlatten("features", axis=1, op_version=OPSET)
        classes = OnnxSubEstimator(self._model, flat, op_version=OPSET, options={"zipmap": False})
        positive = OnnxSlice(classes[1], begin, end, axis, op_version=OPSET, output_names=["probability"])
        graph = positive.to_onnx(
            [("features", FloatTensorType([None, *self._shape]))],
            outputs=[("probability", FloatTensorType([None, 1]))],
            target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML},
        )
        save_normalized(graph, path)


def _flat(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features.reshape(len(features), math.prod(features.shape[1:]))  # -1 cannot be told of no rows


def _logits(model: Any, features: NDArray[np.float32]) -> NDArray[np.float32]:
    # Not decision_function: that refuses no rows.
    logits: NDArray[np.float32] = _flat(features) @ model.coef_[0] + model.intercept_[0]
    return logits


def _solve(estimator: Callable[[NDArray[np.float32]], Any], arrays: Arrays, class_weights: Weights) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    hopeless = TrainingFailed("baseline: the loss of epoch 1 is not finite", hint="look for huge values in the columns")
    x = _flat(arrays.x_train)
    model = estimator(x)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():  # what is not finite is reported below
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, arrays.y_train > 0.5, sample_weight=class_weights.rows(arrays.y_train))
    except ValueError as error:  # of scikit-learn, for NaN and infinity
        raise hopeless from error
    if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
        raise hopeless
    return model


def _metrics(model: Any, arrays: Arrays, class_weights: Weights, start: float) -> EpochMetrics:
    row_weights = class_weights.rows(arrays.y_train)
    penalty = 0.5 * PENALTY * float(np.square(model.coef_, dtype=np.float64).sum())
    logits = _logits(model, arrays.x_validation)
    return EpochMetrics(
        epoch=1,
        train_loss=log_loss(_logits(model, arrays.x_train), arrays.y_train, row_weights)
        + penalty / float(row_weights.sum(dtype=np.float64)),
        validation_loss=log_loss(logits, arrays.y_validation, class_weights.rows(arrays.y_validation)),
        validation_auc=roc_auc(arrays.y_validation, logits),
        seconds=time.perf_counter() - start,
    )
