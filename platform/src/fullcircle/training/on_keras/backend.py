"""Imports Keras and TensorFlow once, with the backend and the rounding that we train with, and no start-up noise."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from fullcircle.core.errors import UsageError
from fullcircle.training.silence_stderr import silence_native_stderr

# All are read once, at import: another backend would train elsewhere, oneDNN would round otherwise.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

IN_RANK = "FULLCIRCLE_LAUNCHER"
"""Environment variable that a launcher gives its ranks (`launchers.rank_guard.LAUNCHER`)."""

OPTIONAL = ("matplotlib", "pandas", "sklearn")
"""What Keras imports where it can, for pictures, tables and wrappers that no rank needs."""


@contextlib.contextmanager
def _without_optional() -> Iterator[None]:
    """In a rank, let Keras believe within the block that these are not installed: a third of its start is theirs, and
    ranks that replace dead ones are waited for."""
    hidden = [name for name in OPTIONAL if name not in sys.modules] if IN_RANK in os.environ else []
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what Python itself writes for "no such module"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with silence_native_stderr(), _without_optional():
    import keras
    import tensorflow as tf

    # A process that trains a model a month makes a graph a month, and TensorFlow warns of every fifth.
    tf.get_logger().setLevel(logging.ERROR)
    tf.config.list_physical_devices()  # looks for a GPU now, and complains now

__all__ = ["keras", "require_tensorflow", "tf"]


def require_tensorflow() -> None:
    """Refuse to train on another backend of Keras.

    Raises:
        UsageError: KERAS_BACKEND, or Keras' own configuration file, names another one.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"Keras runs on {keras.backend.backend()}, but is trained on tensorflow", hint="unset KERAS_BACKEND"
        )
