"""The last step from a Keras model's outputs to answers, by the name of a task's link; part of the exported graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fullcircle.core.tasks import Link
from fullcircle.training.on_keras.backend import tf


def _sigmoid(outputs: Any, link: Link) -> Any:
    # Written as a difference: the graph of a binary model has had this operation since its first version.
    return tf.sigmoid(outputs - -link.offset[0])


LINKS: Mapping[str, Callable[[Any, Link], Any]] = MappingProxyType({"sigmoid": _sigmoid})
"""Link by name: raw outputs (rows, outputs) to answers."""
