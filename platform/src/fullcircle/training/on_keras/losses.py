"""The training losses of Keras models, by the name that a task gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fullcircle.training.on_keras.backend import tf


def _binary_cross_entropy(outputs: Any, targets: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.reshape(outputs, (-1,)))


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType({"binary_cross_entropy": _binary_cross_entropy})
"""Loss by name: raw outputs float32 (rows, outputs) and targets (rows,) to the loss of each row, (rows,)."""
