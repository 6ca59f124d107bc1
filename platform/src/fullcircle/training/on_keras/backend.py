"""Imports Keras and TensorFlow once, on the backend and with the rounding that we train with, without noise."""

from __future__ import annotations

import logging
import os

from fullcircle.core.errors import UsageError
from fullcircle.training.quiet import native_stderr_aside

# All are read once, at import: another backend would train elsewhere, oneDNN would round otherwise.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with native_stderr_aside():
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
