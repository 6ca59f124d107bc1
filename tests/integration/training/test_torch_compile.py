"""torch.compile: a C++ compiler at work, and the same steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from torch import nn

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk


def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 1))


@pytest.mark.slow
def test_a_compiled_model_learns_the_same() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 16, 6)).astype(np.float32)
    y = (x[..., 0] > 0).astype(np.float32)
    whole = Chunk(1, x, y, np.ones_like(y), np.full(3, 16))
    losses, weights = [], []
    for compiled in (False, True):
        compute = Compute(device="cpu", compile=compiled)
        with FRAMEWORK.process_group(compute) as process_group:
            engine = FRAMEWORK.engine(build, (6,), Training(seed=3, clip_norm=0.1), compute, process_group)
            losses.append(engine.steps(whole).losses)
            weights.append(engine.weights())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-6)
    for name, values in weights[0].items():
        np.testing.assert_allclose(values, weights[1][name], rtol=0, atol=1e-6)
