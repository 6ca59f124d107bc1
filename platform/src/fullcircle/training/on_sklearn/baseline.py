"""The baseline model, a logistic regression: the simplest viable model, which the networks are compared with."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.project import ModelFunction, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, OnEpoch
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.training.onnx_file import OPSET, save_normalized
from fullcircle.training.parameters import for_framework
from fullcircle.training.weighting import Weights, log_loss, require_both_classes, sigmoid, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY = 1.0
"""Weight of the squared coefficients beside the summed log loss: only guards against separable columns."""


class BaselineTrainer:
    """Fits a logistic regression (`core.records.training.Trainer`); one epoch, and the project's model function is not
    called."""

    framework = "baseline"

    def fit(
        self, build: ModelFunction | None, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> BaselineFitted:
        """Fit by L-BFGS from zero, so no seed is drawn. It takes seconds: there are no checkpoints.

        Raises:
            TrainingFailed: one class alone in a part of the rows, or no finite solution.
        """
        params = for_framework(params, self.framework)
        require_both_classes(arrays)
        class_weights = weights(arrays.y_train, balanced=params.class_weights)
        start = time.perf_counter()
        coefficients, train_loss = _solve(arrays, class_weights)
        metrics = _metrics(coefficients, train_loss, arrays, class_weights, start)
        on_epoch(metrics)
        return BaselineFitted(coefficients, class_weights.shift, (metrics,), arrays.shape)


class BaselineFitted:
    """A fitted logistic regression (`core.records.training.Fitted`). `coefficients`: (features + 1,), the intercept
    last.

    Features of more than one dimension, as those of an image, are taken as one flat row.
    """

    framework = "baseline"

    def __init__(
        self,
        coefficients: NDArray[np.float64],
        shift: float,
        history: tuple[EpochMetrics, ...],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.history = history
        self._shape = shape or (len(coefficients) - 1,)
        self.best_epoch = 1
        self.coefficients = coefficients.astype(np.float32)
        self.coefficients[-1] = coefficients[-1] - shift

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,)."""
        return sigmoid(_logits(self.coefficients, _flat(features)))

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `probability` (rows, 1)."""
        from onnx import TensorProto, helper, numpy_helper

        flatten = [helper.make_node("Flatten", ["features"], ["flat"], axis=1)] if len(self._shape) > 1 else []
        graph = helper.make_graph(
            [
                *flatten,
                helper.make_node("Gemm", ["flat" if flatten else "features", "coefficients", "intercept"], ["logit"]),
                helper.make_node("Sigmoid", ["logit"], ["probability"]),
            ],
            "logistic_regression",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", *self._shape])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
            [
                numpy_helper.from_array(self.coefficients[:-1].reshape(-1, 1), "coefficients"),
                numpy_helper.from_array(self.coefficients[-1:], "intercept"),
            ],
        )
        save_normalized(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), path)


def _flat(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features.reshape(len(features), math.prod(features.shape[1:]))  # -1 cannot be told of no rows


def _logits(coefficients: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = features @ coefficients[:-1] + coefficients[-1]
    return logits


def _solve(arrays: Arrays, class_weights: Weights) -> tuple[NDArray[np.float64], float]:
    from scipy.optimize import minimize
    from scipy.special import expit

    x, y = _flat(arrays.x_train), arrays.y_train.astype(np.float64)
    row_weights = class_weights.rows(arrays.y_train).astype(np.float64)
    total = row_weights.sum()

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = (x @ coefficients[:-1].astype(np.float32)).astype(np.float64) + coefficients[-1]
        value = (row_weights * (np.logaddexp(0.0, logit) - y * logit)).sum()
        residual = row_weights * (expit(logit) - y)
        slope = np.append(residual.astype(np.float32) @ x, residual.sum()).astype(np.float64)
        slope[:-1] += PENALTY * coefficients[:-1]
        value += 0.5 * PENALTY * float(coefficients[:-1] @ coefficients[:-1])
        return float(value / total), slope / total

    # The products are in float32, so a finer tolerance would chase rounding.
    options = {"maxiter": 200, "gtol": 1e-4, "ftol": 1e-7}
    with np.errstate(invalid="ignore"):  # a NaN is reported below
        found: Any = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        raise TrainingFailed("baseline: the loss of epoch 1 is not finite", hint="look for huge values in the columns")
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


def _metrics(
    coefficients: NDArray[np.float64], train_loss: float, arrays: Arrays, class_weights: Weights, start: float
) -> EpochMetrics:
    logits = _logits(coefficients.astype(np.float32), _flat(arrays.x_validation))
    return EpochMetrics(
        epoch=1,
        train_loss=train_loss,
        validation_loss=log_loss(logits, arrays.y_validation, class_weights.rows(arrays.y_validation)),
        validation_auc=roc_auc(arrays.y_validation, logits),
        seconds=time.perf_counter() - start,
    )
