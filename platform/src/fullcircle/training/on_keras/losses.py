"""The training losses of Keras models, by the name that a task gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fullcircle.core.tasks import Objective
from fullcircle.training.on_keras.backend import tf


def _binary_cross_entropy(outputs: Any, targets: Any, objective: Objective) -> Any:
    if objective.outputs == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.reshape(outputs, (-1,)))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs), axis=1)


def _cross_entropy(outputs: Any, targets: Any, objective: Objective) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(targets, tf.int32), outputs)


def _squared(outputs: Any, targets: Any, objective: Objective) -> Any:
    return tf.square(outputs[:, 0] - targets)


def _absolute(outputs: Any, targets: Any, objective: Objective) -> Any:
    return tf.abs(outputs[:, 0] - targets)


def _huber(outputs: Any, targets: Any, objective: Objective) -> Any:
    far = tf.abs(outputs[:, 0] - targets)
    near = tf.minimum(far, 1.0)
    return near * (far - 0.5 * near)


def _poisson(outputs: Any, targets: Any, objective: Objective) -> Any:
    return tf.exp(outputs[:, 0]) - targets * outputs[:, 0]


def _quantile(outputs: Any, targets: Any, objective: Objective) -> Any:
    levels = tf.constant(objective.quantiles, tf.float32)
    short = targets[:, None] - outputs
    return tf.reduce_mean(tf.maximum(levels * short, (levels - 1.0) * short), axis=1)


LOSSES: Mapping[str, Callable[[Any, Any, Objective], Any]] = MappingProxyType(
    {
        "binary_cross_entropy": _binary_cross_entropy,
        "cross_entropy": _cross_entropy,
        "squared": _squared,
        "absolute": _absolute,
        "huber": _huber,
        "poisson": _poisson,
        "quantile": _quantile,
    }
)
"""Loss by name: raw outputs float32 (rows, outputs) and targets (rows,) or (rows, labels) to each row's loss, (rows,).
What each is, and its source: `training_loop.validation_losses`."""
