"""Each loss and each link is the same function in NumPy, torch and Keras, and each has all that the tasks name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from fullcircle.core.tasks import Link, Objective
from fullcircle.training import links
from fullcircle.training.on_keras.links import LINKS as KERAS_LINKS
from fullcircle.training.on_keras.losses import LOSSES as KERAS_LOSSES
from fullcircle.training.on_torch.links import LINKS as TORCH_LINKS
from fullcircle.training.on_torch.losses import LOSSES as TORCH_LOSSES
from fullcircle.training.training_loop.validation_losses import LOSSES, mean_loss

ROWS = 64
QUANTILES = (0.5, 0.1, 0.9)
OBJECTIVES = [
    Objective(loss="binary_cross_entropy"),
    Objective(loss="binary_cross_entropy", outputs=3, targets=3),
    Objective(loss="cross_entropy", outputs=4),
    *(Objective(loss=name) for name in ("squared", "absolute", "huber", "poisson")),
    Objective(loss="quantile", outputs=3, quantiles=QUANTILES),
]
GIVEN = [
    Link(name="sigmoid", offset=(-0.7,)),
    Link(name="sigmoid", offset=(0.1, 0.2, 0.3)),
    Link(name="sigmoid_decision", offset=(0.3,), threshold=0.4),
    Link(name="softmax", offset=(0.1, -0.2, 0.3)),
    Link(name="identity", offset=(12.0,), scale=3.0),
    Link(name="identity", offset=(1.0,), scale=0.5, inverse="expm1"),
    Link(name="exp", offset=(2.0,)),
    Link(name="sorted_quantiles", offset=(1.0, 1.0, 1.0), scale=2.0, inverse="expm1"),
]


def rows_of(objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs from far below 0 to far above, and targets that suit the loss."""
    random = np.random.default_rng(2)
    outputs = (random.normal(size=(ROWS, objective.outputs)) * random.choice([0.1, 1.0, 8.0], (ROWS, 1))).clip(-20, 20)
    drawn = {
        "binary_cross_entropy": lambda: random.integers(0, 2, (ROWS, objective.targets)),
        "cross_entropy": lambda: random.integers(0, objective.outputs, (ROWS, 1)),
        "poisson": lambda: random.poisson(1.0, (ROWS, 1)),
    }
    targets = drawn.get(objective.loss, lambda: random.normal(size=(ROWS, 1)))()
    return outputs.astype(np.float32), np.asarray(targets, dtype=np.float32)


def test_every_framework_has_every_loss_and_every_link_and_each_is_tried_here() -> None:
    assert set(LOSSES) == set(TORCH_LOSSES) == set(KERAS_LOSSES) == {each.loss for each in OBJECTIVES}
    assert set(links.LINKS) == set(TORCH_LINKS) == set(KERAS_LINKS) == {each.name for each in GIVEN}


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: f"{each.loss}-{each.outputs}")
def test_a_loss_is_the_same_in_every_framework(objective: Objective) -> None:
    outputs, targets = rows_of(objective)
    flat = targets[:, 0] if objective.targets == 1 else targets
    weights = np.random.default_rng(3).random(ROWS).astype(np.float32)
    expected = mean_loss(objective, outputs, flat, weights)
    shares = torch.from_numpy(weights[:, None] / weights.sum())
    by_torch = TORCH_LOSSES[objective.loss](torch.from_numpy(outputs), torch.from_numpy(targets), shares, objective)
    by_keras: Any = KERAS_LOSSES[objective.loss](tf.constant(outputs), tf.constant(flat), objective)
    assert by_keras.shape == (ROWS,)
    assert float(by_torch) == pytest.approx(expected, rel=1e-5)
    assert float((by_keras.numpy() * weights).sum() / weights.sum()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("link", GIVEN, ids=lambda each: f"{each.name}-{len(each.offset)}{each.inverse}")
def test_a_link_is_the_same_in_every_framework_and_finite_whatever_the_output(link: Link) -> None:
    random = np.random.default_rng(4)
    outputs = random.normal(size=(ROWS, len(link.offset))).astype(np.float32) * 2
    expected = links.LINKS[link.name](outputs.astype(np.float64), link)
    by_torch = TORCH_LINKS[link.name](torch.from_numpy(outputs), link).numpy()
    by_keras = KERAS_LINKS[link.name](tf.constant(outputs), link).numpy()
    assert expected.shape == by_torch.shape == by_keras.shape == (ROWS, link.numbers)
    np.testing.assert_allclose(by_torch, expected, rtol=3e-6, atol=1e-6)
    np.testing.assert_allclose(by_keras, expected, rtol=3e-6, atol=1e-6)
    wild = np.full((2, len(link.offset)), 3e4, dtype=np.float32) * np.array([[1], [-1]], dtype=np.float32)
    for found in (
        TORCH_LINKS[link.name](torch.from_numpy(wild), link).numpy(),
        KERAS_LINKS[link.name](tf.constant(wild), link).numpy(),
        links.LINKS[link.name](wild, link),
    ):
        assert np.isfinite(found).all()


def test_the_losses_are_the_published_ones() -> None:
    outputs, target = np.array([[2.0]]), np.array([0.5], dtype=np.float32)
    found = {name: float(LOSSES[name](outputs, target, Objective(loss=name))[0]) for name in ("huber", "poisson")}
    assert found["huber"] == 1.5 - 0.5  # beyond delta 1 it grows in a line
    assert found["poisson"] == pytest.approx(math.exp(2.0) - 0.5 * 2.0)
    three = Objective(loss="quantile", outputs=3, quantiles=QUANTILES)
    pinball = LOSSES["quantile"](np.array([[0.0, 0.0, 1.0]]), target, three)[0]
    assert pinball == pytest.approx((0.5 * 0.5 + 0.1 * 0.5 + 0.1 * 0.5) / 3)
