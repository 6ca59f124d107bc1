"""Digits: is the handwritten digit in the picture written with a closed loop (0, 6, 8, 9)?

The smallest image problem that drifts: real handwriting, bundled with scikit-learn, and scanners that go askew and
noisy later in the year (prepare.py). Why this target, and what is not there: docs/adr/0071-digits.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import (
    AtLeast,
    Binary,
    Budgets,
    Image,
    NotWorse,
    Number,
    Policy,
    Project,
    SplitRule,
    Training,
    Watch,
)

if TYPE_CHECKING:
    import keras
    import torch


def build_torch(inputs: tuple[int, int, int], params: Mapping[str, Any]) -> torch.nn.Module:
    """A small convolutional net in torch: float32 (batch, channels, height, width) in, one logit (batch, 1) out."""
    import torch
    from torch import nn
    from torch.nn import functional

    class RandomShift(nn.Module):
        """Moves and turns each picture a little while training, drawn from torch's generator; else does nothing."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if not self.training:
                return images
            rows, device = len(images), images.device
            angle = (2 * torch.rand(rows, device=device) - 1) * params["turn"]
            move = (2 * torch.rand(rows, 2, device=device) - 1) * params["shift"]
            cosine, sine = angle.cos(), angle.sin()
            matrix = torch.stack([cosine, -sine, move[:, 0], sine, cosine, move[:, 1]], dim=1).view(rows, 2, 3)
            grid = functional.affine_grid(matrix.to(images.dtype), list(images.shape), align_corners=False)
            return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)

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
        nn.Linear(second * (height // 2) * (width // 2), 1),
    )


def build_keras(inputs: tuple[int, int, int], params: Mapping[str, Any]) -> keras.Model:
    """The same net in Keras: float32 (batch, height, width, channels) in. Its layers draw from seeded generators."""
    import math

    import keras

    first, second = params["filters"]
    return keras.Sequential(
        [
            keras.Input(inputs),
            # Factors are shares of a full turn and of the picture; torch's are radians and half pictures.
            keras.layers.RandomRotation(params["turn"] / (2 * math.pi), fill_mode="nearest", seed=1),
            keras.layers.RandomTranslation(params["shift"] / 2, params["shift"] / 2, fill_mode="nearest", seed=2),
            keras.layers.Conv2D(first, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(second, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(params["dropout"]),
            keras.layers.Dense(1),
        ]
    )


project = Project(
    name="digits",
    owner="ops-ml@example.com",
    runbook="docs/runbooks/digits.md",
    purpose="Tell digits that are written with a closed loop (0, 6, 8, 9) from those that are not.",
    limits="Single upright digits of 8 x 8 grey levels, as in the UCI set of 1998. Nothing else that may have a loop.",
    data="../../.fullcircle/data/digits",
    columns=(
        Image("image", shape=(8, 8, 1), low=0, high=16, unit="grey level"),
        Number("digit", low=0, high=9, after=True),
    ),
    target=Binary("closed_loop", positive="the digit has a closed loop"),
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
        class_weights=False,  # four digits in ten have a loop
        seed=13,
        extra={"filters": (16, 32), "dropout": 0.3, "turn": 0.15, "shift": 0.12},
    ),
    split=SplitRule(validation=timedelta(days=21), test=timedelta(days=21)),
    gates=(AtLeast("roc_auc", 0.8), NotWorse("log_loss", margin=0.05)),
    budgets=Budgets(p99_ms=10, size_mb=5, parity=1e-4),
    watch=Watch(every=timedelta(days=7), window=timedelta(days=28), false_alarms=0.01, min_rows=100),
    policy=Policy(tolerated_drop=0.03, cooldown=timedelta(days=25), max_retrains=6),
)
