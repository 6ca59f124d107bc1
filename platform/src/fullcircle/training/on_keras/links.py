"""The last step from a Keras model's outputs to answers, by the name of a task's link; part of the exported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fullcircle.core.tasks import Link
from fullcircle.core.tasks.objective import MOST_EXPONENT
from fullcircle.training.on_keras.backend import tf


def _sigmoid(outputs: Any, link: Link) -> Any:
    # Written as a difference: the graph of a binary model has had this operation since its first version.
    return tf.sigmoid(outputs - -_constant(link.offset))


def _sigmoid_decision(outputs: Any, link: Link) -> Any:
    probability = _sigmoid(outputs, link)
    return tf.concat([probability, tf.cast(probability >= (link.threshold or 0.0), probability.dtype)], axis=1)


def _softmax(outputs: Any, link: Link) -> Any:
    return tf.nn.softmax(outputs + _constant(link.offset), axis=1)


def _identity(outputs: Any, link: Link) -> Any:
    return INVERSES[link.inverse](outputs * link.scale + _constant(link.offset))


def _exp(outputs: Any, link: Link) -> Any:
    return tf.exp(tf.minimum(outputs + _constant(link.offset), MOST_EXPONENT))


def _sorted_quantiles(outputs: Any, link: Link) -> Any:
    # By minima and maxima: every runtime knows them, while sorting is an operator of its own.
    a, b, c = tf.split(_identity(outputs, link), 3, axis=1)
    low, high = tf.minimum(a, b), tf.maximum(a, b)
    middle = tf.maximum(low, tf.minimum(high, c))
    return tf.concat([middle, tf.minimum(low, c), tf.maximum(high, c)], axis=1)


def _constant(values: tuple[float, ...]) -> Any:
    return values[0] if len(values) == 1 else tf.constant(values, tf.float32)


INVERSES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"": lambda values: values, "expm1": lambda values: tf.exp(tf.minimum(values, MOST_EXPONENT)) - 1.0}
)
"""Inverse of a target's transform by name; in operations that every runtime knows."""

LINKS: Mapping[str, Callable[[Any, Link], Any]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "sigmoid_decision": _sigmoid_decision,
        "softmax": _softmax,
        "identity": _identity,
        "exp": _exp,
        "sorted_quantiles": _sorted_quantiles,
    }
)
"""Link by name: raw outputs (rows, outputs) to answers (rows, numbers)."""
