"""Where a torch model's numbers first go bad: the layer, the pass, the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, Diagnosis


class Log(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


class Root(nn.Module):
    """Its own square root, whose gradient at 0 is no number times 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(x * self.weight)


class Between(nn.Module):
    """The square root stands between two layers, in no layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        nn.init.eye_(self.first.weight)
        self.last = nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sqrt(self.first(x)))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Between()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Overflow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(200 * x)


def diagnose(make: Callable[[], nn.Module], x: np.ndarray, y: np.ndarray | None = None, **compute: Any) -> Any:
    rows = len(x)
    targets = np.zeros(rows, dtype=np.float32) if y is None else y
    one = Chunk(1, x[None], targets[None], np.ones((1, rows), dtype=np.float32), np.array([rows]))
    settings = Compute(device="cpu", **compute)

    def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        return make()

    with FRAMEWORK.process_group(settings) as process_group:
        engine = FRAMEWORK.engine(build, (6,), Training(seed=3), settings, process_group)
        found = engine.diagnose(one)
        results = engine.steps(one)
        finite = bool(np.isfinite(results.losses).all() and np.isfinite(results.norms).all())
        assert finite == (found is None)  # the guard of a step and the diagnosis are of one mind
    return found


@pytest.fixture
def positive() -> np.ndarray:
    return (np.abs(np.random.default_rng(0).normal(size=(32, 6))) + 1).astype(np.float32)


def test_a_step_that_stays_finite_has_no_diagnosis(positive: np.ndarray) -> None:
    assert diagnose(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)), positive) is None


def test_the_logarithm_of_0_is_found_in_its_layer_and_row(positive: np.ndarray) -> None:
    positive[9] = 0
    found = diagnose(lambda: nn.Sequential(Log(), nn.Linear(6, 1)), positive)
    assert found == Diagnosis(layer="0 (Log)", where="forward", rows=(9,))


def test_an_overflow_names_the_rows_that_are_too_great(positive: np.ndarray) -> None:
    positive /= 100 * positive.max()
    positive[[3, 20], 1] = 5
    found = diagnose(lambda: nn.Sequential(nn.Identity(), Overflow(), nn.Linear(6, 1)), positive)
    assert found == Diagnosis(layer="1 (Overflow)", where="forward", rows=(3, 20))


def test_a_poisoned_row_is_named_though_batch_normalisation_spreads_it(positive: np.ndarray) -> None:
    positive[7, 2] = np.nan
    found = diagnose(lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 1)), positive)
    assert found == Diagnosis(layer="0 (BatchNorm1d)", where="forward", rows=(7,))


def test_a_layer_that_fails_for_every_row_blames_none(positive: np.ndarray) -> None:
    found = diagnose(lambda: nn.Sequential(Overflow(), nn.Linear(6, 1)), positive)
    assert found == Diagnosis(layer="0 (Overflow)", where="forward", rows=())


def test_a_gradient_that_goes_bad_after_a_finite_forward_names_parameter_operation_and_row(
    positive: np.ndarray,
) -> None:
    positive[4] = 0
    found = diagnose(lambda: nn.Sequential(Root(), nn.Linear(6, 1)), positive)
    assert (found.where, found.rows) == ("backward", (4,))
    assert found.layer == "0.weight, MulBackward0"


def test_a_gradient_that_goes_bad_between_two_layers_names_the_one_around_them(positive: np.ndarray) -> None:
    positive[[4, 30]] = 0
    found = diagnose(Nested, positive)
    assert (found.where, found.rows) == ("backward", (4, 30))
    assert found.layer.startswith("body (Between)")


def test_a_gradient_that_goes_bad_within_a_layer_names_it(positive: np.ndarray) -> None:
    positive[2] = 0

    class Sqrt(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sqrt(x) * torch.sqrt(x)

    def model() -> nn.Module:
        first = nn.Linear(6, 6, bias=False)
        nn.init.eye_(first.weight)
        return nn.Sequential(first, nn.Sequential(nn.Identity(), Sqrt()), nn.Linear(6, 1))

    found = diagnose(model, positive)
    assert (found.where, found.rows) == ("backward", (2,))
    assert found.layer.startswith("1.1 (Sqrt)")


def test_a_target_that_is_no_number_is_the_losss_fault(positive: np.ndarray) -> None:
    targets = np.zeros(32, dtype=np.float32)
    targets[11] = np.nan
    found = diagnose(lambda: nn.Linear(6, 1), positive, targets)
    assert found == Diagnosis(layer="loss", where="loss", rows=(11,))


def test_a_weight_that_is_bad_already_came_from_the_update(positive: np.ndarray) -> None:
    def model() -> nn.Module:
        made = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 1))
        with torch.no_grad():
            made[1].bias.fill_(float("inf"))
        return made

    found = diagnose(model, positive)
    assert found == Diagnosis(layer="1.bias", where="update", rows=())


def test_a_diagnosis_draws_no_random_numbers_and_changes_no_weight(positive: np.ndarray) -> None:
    def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))

    one = Chunk(1, positive[None], np.zeros((1, 32), "f"), np.ones((1, 32), "f"), np.array([32]))
    losses = []
    for looked in (False, True):
        settings = Compute(device="cpu")
        with FRAMEWORK.process_group(settings) as process_group:
            engine = FRAMEWORK.engine(build, (6,), Training(seed=3), settings, process_group)
            if looked:
                assert engine.diagnose(one) is None
            losses.append([float(engine.steps(one).losses[0]) for _ in range(3)])
    assert losses[0] == losses[1]
