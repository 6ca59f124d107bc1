"""What torch refuses before any training time is spent, and what it can say about memory and time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK

CPU = Compute(device="cpu")


def linear(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    return nn.Linear(inputs, params.get("outputs", 1))


def check(build: Any = linear, shape: tuple[int, ...] = (6,), compute: Compute = CPU, **extra: Any) -> None:
    FRAMEWORK.check(build, shape, Training(extra=extra), compute)


def test_a_model_of_the_wrong_shape_is_refused_with_what_was_expected_and_what_came() -> None:
    with pytest.raises(UsageError, match=r"\(rows, 6\) to one logit a row, \(rows, 1\); for 2 rows it gave \(2, 2\)"):
        check(outputs=2)


def test_an_image_model_that_wants_other_channels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must take float32 \(rows, 1, 8, 8\) to one logit a row.*; it failed"):
        check(lambda inputs, params: nn.Conv2d(3, 1, 8), (8, 8, 1))


def test_a_model_function_that_fails_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match=r"model function failed .KeyError: 'hidden'.; mend it in project.py"):
        check(lambda inputs, params: params["hidden"])


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must return a torch.nn.Module, got int"):
        check(lambda inputs, params: 3)


def test_a_model_that_has_nothing_to_learn_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no parameter that learns"):
        check(lambda inputs, params: nn.Linear(inputs, 1).requires_grad_(False))


@pytest.mark.parametrize(
    ("compute", "line"),
    [
        ({"strategy": "zero"}, r"compute.strategy must be one of ddp, fsdp, got 'zero'"),
        ({"accumulate": 0}, r"compute.accumulate must be a whole number from 1 to 1048576, got 0"),
        ({"precision": "int8"}, r"compute.precision must be one of float32, bfloat16, float16, got 'int8'"),
        ({"device": "tpu"}, r"no TPU is seen here"),
    ],
)
def test_a_way_of_computing_that_is_not_to_be_had_is_refused(compute: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        check(compute=Compute(**({"device": "cpu"} | compute)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match=r"finds no GPU here; use device 'auto' or 'cpu'"):
        check(compute=Compute(device="cuda"))


def test_a_check_leaves_the_random_state_as_it_was() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    check()
    assert expected == (torch.rand(1).item(), np.random.rand())  # noqa: NPY002


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.float32)
    assert FRAMEWORK.out_of_memory(caught.value)
    assert FRAMEWORK.out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert FRAMEWORK.out_of_memory(MemoryError())
    assert not FRAMEWORK.out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not FRAMEWORK.out_of_memory(ValueError("out of memory"))


def test_the_profile_is_a_trace_that_names_the_operations(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    with FRAMEWORK.profiler(folder):
        torch.ones(4, 4) @ torch.ones(4, 4)
    (trace,) = folder.glob("*.pt.trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "aten::matmul" in names
