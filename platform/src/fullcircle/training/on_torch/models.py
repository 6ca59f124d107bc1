"""Builds and checks the torch model of a project: seeding, shapes of input and output."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fullcircle.core.errors import UsageError
from fullcircle.core.project import ModelFunction, Shape, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.on_torch.adapters import adapted, check_own_loss, has_own_loss, optimization

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function in a module's text: another one in each process


def seed(*parts: int) -> None:
    """Seed every generator that a model may draw from, from a tuple such as (seed, rank, step)."""
    if len(parts) == 1:
        value = parts[0]
    else:
        value = int(np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - a model function may draw from it
    torch.manual_seed(value)


@contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Leave the process's random state as it was."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


def inputs_of(shape: Shape) -> int | tuple[int, ...]:
    """What the model function is told of its inputs: the number of features, or (channels, height, width)."""
    return shape[0] if len(shape) == 1 else (shape[2], shape[0], shape[1])


def to_model(features: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Features as the model takes them: images, stored as (..., H, W, C), become (..., C, H, W).

    Nothing is copied: what comes out is the memory format that torch calls channels last.
    """
    # Counted from the front: an ONNX graph knows no negative axes here.
    return features if len(shape) == 1 else features.movedim(features.dim() - 1, features.dim() - 3)


def build_model(build: ModelFunction, shape: Shape, training: Training) -> torch.nn.Module:
    """The project's model, from the training's seed.

    Raises:
        UsageError: the function fails, or returns no module.
    """
    seed(training.seed)
    try:
        model = build(inputs_of(shape), training.extra)
    except Exception as error:
        raise UsageError(
            f"the torch model function failed ({type(error).__name__}: {error})", hint="mend it in project.py"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"the torch model function must return a torch.nn.Module, got {type(model).__name__}")
    model = adapted(model)
    return model.to(memory_format=torch.channels_last) if len(shape) == 3 else model  # type: ignore[call-overload]


def check(model: torch.nn.Module, shape: Shape, training: Training, objective: Objective) -> None:
    """Ask the model about two rows of zeros, and for the loss and the optimizer that it may bring itself.

    Raises:
        UsageError: it fails, or gives something else than the objective's numbers of each row.
    """
    _check_outputs(model, shape, objective)
    optimization(model, training)
    if has_own_loss(model):
        check_own_loss(model.train(), to_model(torch.zeros(2, *shape), shape), training, objective)


def _check_outputs(model: torch.nn.Module, shape: Shape, objective: Objective) -> None:
    inputs = ", ".join(map(str, (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape))
    expected = f"float32 (rows, {inputs}) to {objective.answers}, (rows, {objective.outputs})"
    try:
        with torch.inference_mode():
            answer: Any = model.eval()(to_model(torch.zeros(2, *shape), shape))
    except Exception as error:
        raise UsageError(f"the torch model must take {expected}; it failed ({error})") from error
    found = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    wanted = (2, objective.outputs)
    if found != wanted:
        raise UsageError(f"the torch model must take {expected}; for 2 rows it gave {found} instead of {wanted}")


def architecture(model: torch.nn.Module) -> str:
    """Text of the model's layers and the shapes of its tensors, the same in every process."""
    tensors = "\n".join(f"{name} {tuple(values.shape)}" for name, values in model.state_dict().items())
    return f"{_ADDRESS.sub('', repr(model))}\n{tensors}"


def array(tensor: torch.Tensor) -> NDArray[Any]:
    """A copy of a tensor as an array; bfloat16, which numpy has not, as float32."""
    values: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(force=True).copy()
    return values
