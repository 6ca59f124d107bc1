"""Keras' Adam for gradients that are already summed over the replicas."""

from __future__ import annotations

from typing import Any

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_keras.backend import keras

EPSILON = 1e-8
"""Torch's default. Keras' own is 1e-7, and the two frameworks are to learn the same."""


class SummedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam (Kingma and Ba 2015) that takes its gradients as they are.

    The engine sums them over the replicas once, because their norm and their clipping need the sum; Keras' optimizer
    would sum them again under a strategy.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars


def optimizer_for(training: Training, compute: Compute) -> Any:
    """The optimizer of a model; with float16, gradients are scaled so that they do not vanish."""
    adam = SummedAdam(learning_rate=training.learning_rate, epsilon=EPSILON)
    return keras.optimizers.LossScaleOptimizer(adam) if compute.precision == "float16" else adam
