"""Digits: which of the ten digits is in the picture?

The smallest image problem that drifts: real handwriting, and scanners that go askew and noisy later in the year
(prepare.py). Why these pictures, and what is not there: docs/adr/0071-digits.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import (
    AtLeast,
    Budgets,
    Choice,
    ErrorBudget,
    Image,
    LogUniform,
    Multiclass,
    NotWorse,
    Policy,
    Project,
    ReplayPlan,
    SplitRule,
    Training,
    Uniform,
    Watch,
)

if TYPE_CHECKING:
    import keras
    import torch

DIGITS = tuple(range(10))


def build_torch(inputs: tuple[int, int, int], params: Mapping[str, Any]) -> torch.nn.Module:
    """A small convolutional net in torch: float32 (batch, channels, height, width) in, ten logits (batch, 10) out."""
    import torch
    from torch import nn

    class RandomShift(nn.Module):
        """Moves each picture by up to `shift` pixels, drawn from torch's generator; while training alone."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if not self.training:
                return images
            down, across = self.blend(images, 2), self.blend(images, 3)
            return torch.einsum("nih,nchw,njw->ncij", down, images, across)

        def blend(self, images: torch.Tensor, axis: int) -> torch.Tensor:
            """How much of each old place is in each new one, (rows, new, old): linear interpolation as a matrix."""
            places = torch.arange(images.shape[axis], device=images.device)
            move = params["shift"] * (2 * torch.rand(len(images), 1, device=images.device) - 1)
            where = (places + move).clamp(0, images.shape[axis] - 1)
            return (1 - (where[:, :, None] - places).abs()).relu().to(images.dtype)

    channels, height, width = inputs
    first, second = params["filters"]
    return nn.Sequential(
        RandomShift(),
        nn.Conv2d(channels, first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(params["dropout"]),
        nn.Linear(second * (height // 2) * (width // 2), len(DIGITS)),
    )


def build_keras(inputs: tuple[int, int, int], params: Mapping[str, Any]) -> keras.Model:
    """The same net in Keras: float32 (batch, height, width, channels) in. Its layers draw from seeded generators."""
    import keras
    from keras import ops

    class RandomShift(keras.layers.Layer):
        """As torch's. Keras' own layer for it cannot be compiled by XLA."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = keras.random.SeedGenerator(1)

        def call(self, images: Any, training: bool = False) -> Any:
            if not training:
                return images
            down, across = self.blend(images, 1), self.blend(images, 2)
            return ops.einsum("nhjc,nih->nijc", ops.einsum("nhwc,njw->nhjc", images, across), down)

        def blend(self, images: Any, axis: int) -> Any:
            places = ops.arange(inputs[axis - 1], dtype="float32")
            move = keras.random.uniform(
                (ops.shape(images)[0], 1), -params["shift"], params["shift"], seed=self.generator
            )
            where = ops.clip(places + ops.cast(move, "float32"), 0, inputs[axis - 1] - 1)
            return ops.cast(ops.relu(1 - ops.abs(where[:, :, None] - places)), images.dtype)

    first, second = params["filters"]
    return keras.Sequential(
        [
            keras.Input(inputs),
            RandomShift(),
            keras.layers.Conv2D(first, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(second, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(params["dropout"]),
            keras.layers.Dense(len(DIGITS)),
        ]
    )


project = Project(
    name="digits",
    owner="ops-ml@example.com",
    runbook="docs/runbooks/digits.md",
    purpose="Read single handwritten digits.",
    limits="Single upright digits of 14 x 14 grey levels, as in MNIST. No letters, and no picture without a digit.",
    data="../../.fullcircle/data/digits",
    columns=(Image("image", shape=(14, 14, 1), low=0, high=255, unit="grey level"),),
    target=Multiclass("digit", DIGITS),
    time="scanned_at",
    row_id="digit_id",
    labels_after=timedelta(days=1),
    torch=build_torch,
    keras=build_keras,
    training=Training(
        epochs=40,
        batch_size=64,
        learning_rate=3e-3,
        patience=8,
        class_weights=False,  # each digit is one in ten
        seed=13,
        extra={"filters": (16, 32), "dropout": 0.3, "shift": 0.5},
    ),
    search={
        "training.learning_rate": LogUniform(3e-4, 3e-2),
        "training.filters": Choice((8, 16), (16, 32), (32, 64)),
        "training.dropout": Uniform(0.0, 0.6),
        "training.shift": Uniform(0.0, 1.5),
    },
    # A month of pictures has about 40 of each digit, which is what a verdict on all ten takes.
    split=SplitRule(validation=timedelta(days=14), test=timedelta(days=28)),
    gates=(AtLeast("accuracy", 0.8), NotWorse("log_loss", margin=0.05)),
    evidence=ErrorBudget(n_analyses=12),
    budgets=Budgets(p99_ms=10, size_mb=5, parity=1e-4),
    watch=Watch(every=timedelta(days=7), window=timedelta(days=28), false_alarms=0.01, min_rows=100),
    policy=Policy(tolerated_drop=0.01, cooldown=timedelta(days=25), max_retrains=6),
    replay=ReplayPlan(
        note=(
            "The pictures are real, their months are made up: a permutation with a seed deals them out, the scanner "
            "turns those of August to October and adds noise to those of November and December. So this is an exercise "
            "with a known fault, not a past that was; months without a change differ by chance alone."
        )
    ),
)
