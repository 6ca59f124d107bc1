"""The baselines' linear models by the name that a task gives them: each solved by scikit-learn, from zero to optimum.

All are linear in the features, so each comes to one matrix of coefficients, and one graph (`graph.py`) serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Objective

    Floats = NDArray[Any]
    Solve = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Objective], Floats]

PENALTY = 1.0
"""Weight of the squared coefficients beside the summed loss: only guards against separable or equal columns."""

EXACT_BYTES, EXACT_FEATURES = 256 << 20, 2_000
"""Up to so many bytes of training rows and so many features the optimum is solved for exactly. Newton's method copies
the rows and needs a matrix of features by features; L-BFGS takes 24 bytes a row, and stops near the optimum."""

MEDIAN = (0.5,)


def logistic(x: NDArray[np.float32]) -> Any:
    """A logistic regression, of two classes or of several, that is not fitted."""
    from sklearn.linear_model import LogisticRegression

    if x.nbytes <= EXACT_BYTES and x.shape[1] <= EXACT_FEATURES:
        return LogisticRegression(C=1 / PENALTY, solver="newton-cholesky", tol=1e-6)
    # The products are in float32, so a finer tolerance would chase rounding.
    return LogisticRegression(C=1 / PENALTY, solver="lbfgs", tol=1e-4, max_iter=200)


def _two_classes(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    return _matrix(logistic(x).fit(x, y > 0.5, sample_weight=weights))


def _several_classes(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    return _matrix(logistic(x).fit(x, y.astype(np.int64), sample_weight=weights))


def _each_label(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    return np.concatenate([_two_classes(x, column, weights, objective) for column in y.T])


def _ridge(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    from sklearn.linear_model import Ridge

    return _matrix(Ridge(alpha=PENALTY, solver="auto").fit(x, y, sample_weight=weights))


def _huber(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    """Source: Huber 1981, "Robust statistics", proposal 2: the spread of the errors is estimated, too."""
    from sklearn.linear_model import HuberRegressor

    # In float64: its steps are too small for float32.
    return _matrix(HuberRegressor(max_iter=200).fit(x.astype(np.float64), y.astype(np.float64), sample_weight=weights))


def _poisson(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    from sklearn.linear_model import PoissonRegressor

    model = PoissonRegressor(alpha=PENALTY / len(x), solver="newton-cholesky", max_iter=100)
    return _matrix(model.fit(x.astype(np.float64), y.astype(np.float64), sample_weight=weights))


def _parallel_quantiles(
    x: NDArray[np.float32], y: NDArray[np.float32], weights: NDArray[np.float32], objective: Objective
) -> Floats:
    """A robust line, moved to where each quantile of its errors on these rows is: a band of one width.

    Quantile regression proper is a linear program, which takes minutes from 20,000 rows on.
    """
    line = _huber(x, y, weights, objective)
    errors = y - (x @ line[0, :-1] + line[0, -1])
    moved = np.quantile(errors, objective.quantiles or MEDIAN)
    found = np.repeat(line, len(moved), axis=0)
    found[:, -1] += moved
    return found


def _matrix(model: Any) -> Floats:
    coefficients = np.atleast_2d(model.coef_)
    intercepts = np.broadcast_to(np.asarray(model.intercept_, dtype=coefficients.dtype), (len(coefficients),))
    return np.column_stack([coefficients, intercepts])


ESTIMATORS: Mapping[str, Solve] = MappingProxyType(
    {
        "logistic_regression": _two_classes,
        "multinomial_logistic_regression": _several_classes,
        "logistic_regression_by_label": _each_label,
        "ridge": _ridge,
        "huber_regression": _huber,
        "poisson_regression": _poisson,
        "quantile_regression": _parallel_quantiles,
    }
)
"""Baseline by name: training rows float32 (rows, features), training targets (rows,) or (rows, labels), weights
(rows,), and the objective, to the coefficients of each output, its intercept last: (outputs, features + 1)."""
