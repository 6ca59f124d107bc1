"""A linear model as an ONNX graph, by skl2onnx: coefficients, then the task's link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks.objective import MOST_EXPONENT
from fullcircle.training.on_sklearn.estimators import logistic
from fullcircle.training.onnx_file import OPSET, OPSET_ML, save_normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Link


def save(coefficients: NDArray[np.float32], link: Link, shape: tuple[int, ...], path: Path) -> None:
    """Write `features` (rows, *shape) to `answers` (rows, numbers) as one file.

    Args:
        coefficients: (outputs, features + 1), the intercept last; the link's offset and scale are in them already.
    """
    from skl2onnx.common.data_types import FloatTensorType

    answers = _LINKS[link.name](coefficients, link)
    graph = answers.to_onnx(
        [("features", FloatTensorType([None, *shape]))],
        outputs=[("answers", FloatTensorType([None, link.numbers]))],
        target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML},
    )
    save_normalized(graph, path)


def _op(name: str, *inputs: Any, **attributes: Any) -> Any:
    from skl2onnx.algebra import onnx_ops

    return getattr(onnx_ops, f"Onnx{name}")(*inputs, op_version=OPSET, **attributes)


def _last(name: str, *inputs: Any, **attributes: Any) -> Any:
    return _op(name, *inputs, output_names=["answers"], **attributes)


def _outputs(coefficients: NDArray[np.float32]) -> Any:
    product = _op("MatMul", _op("Flatten", "features", axis=1), np.ascontiguousarray(coefficients[:, :-1].T))
    return _op("Add", product, np.ascontiguousarray(coefficients[:, -1]))


def _column(values: Any, index: int, **last: Any) -> Any:
    begin, end, axis = (np.array([number], np.int64) for number in (index, index + 1, 1))
    return _op("Slice", values, begin, end, axis, **last)


def _sigmoid(coefficients: NDArray[np.float32], link: Link) -> Any:
    if len(coefficients) > 1:
        return _last("Sigmoid", _outputs(coefficients))
    return _column(_classes(coefficients), 1, output_names=["answers"])


def _classes(coefficients: NDArray[np.float32]) -> Any:
    """Probabilities of both classes, (rows, 2), as skl2onnx writes scikit-learn's logistic regression."""
    from skl2onnx.algebra.onnx_operator import OnnxSubEstimator

    model = logistic(coefficients[:, :-1])
    model.coef_, model.intercept_ = coefficients[:, :-1], coefficients[:, -1]
    model.classes_, model.n_features_in_ = np.array([False, True]), coefficients.shape[1] - 1
    flat = _op("Flatten", "features", axis=1)
    return OnnxSubEstimator(model, flat, op_version=OPSET, options={"zipmap": False})[1]


def _sigmoid_decision(coefficients: NDArray[np.float32], link: Link) -> Any:
    probability = _column(_classes(coefficients), 1)
    decided = _op("GreaterOrEqual", probability, np.array([link.threshold], np.float32))
    return _last("Concat", probability, _op("Cast", decided, to=1), axis=1)


def _softmax(coefficients: NDArray[np.float32], link: Link) -> Any:
    return _last("Softmax", _outputs(coefficients), axis=1)


def _exp(coefficients: NDArray[np.float32], link: Link) -> Any:
    return _last("Exp", _op("Min", _outputs(coefficients), np.array([MOST_EXPONENT], np.float32)))


def _identity(coefficients: NDArray[np.float32], link: Link) -> Any:
    return _last("Identity", _INVERSES[link.inverse](_outputs(coefficients)))


def _sorted_quantiles(coefficients: NDArray[np.float32], link: Link) -> Any:
    # By minima and maxima: every runtime knows them, while sorting is an operator of its own.
    values = _INVERSES[link.inverse](_outputs(coefficients))
    a, b, c = (_column(values, index) for index in range(3))
    low, high = _op("Min", a, b), _op("Max", a, b)
    middle = _op("Max", low, _op("Min", high, c))
    return _last("Concat", middle, _op("Min", low, c), _op("Max", high, c), axis=1)


def _expm1(values: Any) -> Any:
    bounded = _op("Min", values, np.array([MOST_EXPONENT], np.float32))
    return _op("Sub", _op("Exp", bounded), np.array([1.0], np.float32))


_INVERSES: Mapping[str, Callable[[Any], Any]] = MappingProxyType({"": lambda values: values, "expm1": _expm1})

_LINKS: Mapping[str, Callable[[NDArray[np.float32], Link], Any]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "sigmoid_decision": _sigmoid_decision,
        "softmax": _softmax,
        "identity": _identity,
        "exp": _exp,
        "sorted_quantiles": _sorted_quantiles,
    }
)
"""Link by name: coefficients to the operator that gives `answers`."""
