"""The two frameworks learn the same: same layers, first weights, optimizer and chunks give the same loss curve."""

from __future__ import annotations

import numpy as np
import pytest

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_keras.backend import keras
from fullcircle.training.on_keras.framework import FRAMEWORK as KERAS
from fullcircle.training.on_torch.framework import FRAMEWORK as TORCH
from fullcircle.training.ports import Chunk

STEPS, TOLERANCE = 50, 1e-4


def perceptron_torch(inputs, params):
    from torch import nn

    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))


def perceptron_keras(inputs, params):
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((inputs,)), dense(32, "relu"), dense(16, "relu"), dense(1)])


def convolution_torch(inputs, params):
    from torch import nn

    channels = inputs[0]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), *pooled, nn.Linear(8, 1))


def convolution_keras(inputs, params):
    layers = [keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Conv2D(8, 3, activation="relu")]
    pooled = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(inputs), *layers, pooled, keras.layers.Dense(1)])


def as_keras(weights):
    """Torch keeps a layer's outputs first, Keras last: (out, in) and (out, in, height, width) turn round."""

    def turned(values):
        return np.moveaxis(values, (0, 1), (-1, -2)) if values.ndim > 1 else values

    return {f"model/{index:04d}": turned(values) for index, values in enumerate(weights.values())}


def chunks(shape, rows):
    """50 steps in chunks of 10: rows whose sum decides, mostly."""
    rng = np.random.default_rng(7)
    for first in range(1, STEPS + 1, 10):
        x = rng.normal(size=(10, rows, *shape)).astype(np.float32)
        noise = rng.normal(size=(10, rows))
        y = (x.reshape(10, rows, -1).sum(axis=2) + noise > 0).astype(np.float32)
        w = np.where(y > 0, 1.5, 0.75).astype(np.float32)
        yield Chunk(first=first, x=x, y=y, w=w, counts=np.full(10, rows))


def curve(engine, shape, rows):
    results = [engine.steps(chunk) for chunk in chunks(shape, rows)]
    return np.concatenate([r.losses for r in results]), np.concatenate([r.norms for r in results])


@pytest.mark.parametrize(
    ("torch_build", "keras_build", "shape"),
    [(perceptron_torch, perceptron_keras, (12,)), (convolution_torch, convolution_keras, (8, 8, 2))],
    ids=["table", "image"],
)
@pytest.mark.parametrize(
    ("training", "compute"),
    [({}, {}), ({"clip_norm": 0.2}, {}), ({}, {"accumulate": 4})],
    ids=["plain", "clipped", "in parts"],
)
def test_torch_and_keras_learn_along_the_same_curve(torch_build, keras_build, shape, training, compute):
    training, compute = Training(learning_rate=3e-3, **training), Compute(**compute)
    with TORCH.process_group(compute) as one, KERAS.process_group(compute) as other:
        by_torch = TORCH.engine(torch_build, shape, training, compute, one)
        by_keras = KERAS.engine(keras_build, shape, training, compute, other)
        by_keras.take(as_keras(by_torch.weights()))
        losses, norms = curve(by_torch, shape, 64)
        other_losses, other_norms = curve(by_keras, shape, 64)
        rows = np.random.default_rng(1).normal(size=(16, *shape)).astype(np.float32)
        assert other_losses == pytest.approx(losses, abs=TOLERANCE)
        assert other_norms == pytest.approx(norms, abs=10 * TOLERANCE)
        assert by_keras.outputs(rows) == pytest.approx(by_torch.outputs(rows), abs=10 * TOLERANCE)
    assert losses[-10:].mean() < losses[:10].mean()
