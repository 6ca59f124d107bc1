"""Keras' own `fit` in one of two processes: what test_keras_process_groups.py expects to fail."""

from __future__ import annotations

import numpy as np

from fullcircle.core.project import Compute
from fullcircle.training.on_keras.backend import keras
from fullcircle.training.on_keras.framework import FRAMEWORK

with FRAMEWORK.process_group(Compute()) as process_group, process_group.scope():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(np.zeros((8, 3), np.float32), np.zeros((8, 1), np.float32), verbose=0)
