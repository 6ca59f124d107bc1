"""Builds and checks the Keras model of a project, and names, copies and assigns its variables."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.core.project import ModelFunction, Shape, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.ports import Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 16384
"""Rows that are answered at once; more would only take memory."""

_SEED = "seed_generator_state"
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Layers built within the block compute in this precision; their weights stay float32."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(_POLICIES[name])
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def build_model(build: ModelFunction, shape: Shape, training: Training, objective: Objective) -> Any:
    """The project's model, built from `training.seed`, after a look at what it answers for two rows.

    Raises:
        UsageError: the function fails, or returns something else than a Keras model of the objective's width.
    """
    keras.utils.set_random_seed(training.seed)
    inputs = shape[0] if len(shape) == 1 else shape
    try:
        model = build(inputs, training.extra)
    except Exception as error:
        raise UsageError(
            f"the Keras model function failed ({type(error).__name__}: {_first_line(error)})",
            hint="mend it in project.py",
        ) from error
    if not isinstance(model, keras.Model):
        raise UsageError(f"the Keras model function must return a keras.Model, got {type(model).__name__}")
    expected = f"float32 (rows, {', '.join(map(str, shape))}) to {objective.answers}, (rows, {objective.outputs})"
    try:
        answer = model(tf.zeros((2, *shape)), training=False)
    except Exception as error:
        raise UsageError(f"the Keras model must take {expected}; it failed ({_first_line(error)})") from error
    came = tuple(answer.shape) if hasattr(answer, "shape") else type(answer).__name__
    wanted = (2, objective.outputs)
    if came != wanted:
        raise UsageError(f"the Keras model must take {expected}; for 2 rows it gave {came} instead of {wanted}")
    if not model.trainable_variables:
        raise UsageError("the Keras model has nothing to learn: no variable of it is trainable")
    return model


def architecture(model: Any) -> str:
    """The layers as text, without the numbers that Keras counts names up with: they differ from process to process."""
    try:
        layers = model.to_json()
    except Exception:  # noqa: BLE001 - a model with layers of its own may not know how; its variables will do
        layers = type(model).__name__
    shapes = [(variable.path.rpartition("/")[2], tuple(variable.shape)) for variable in model.variables]
    return re.sub(r"_\d+(?=[\"/])", "", f"{layers} {shapes}")


def seeds_of(model: Any) -> list[Any]:
    """The states of the model's random generators (dropout): variables of a seed and a counter each."""
    return [variable for variable in model.variables if variable.path.rpartition("/")[2] == _SEED]


def weights_of(model: Any) -> list[Any]:
    """All other variables: what the model answers with."""
    return [variable for variable in model.variables if variable.path.rpartition("/")[2] != _SEED]


def copies(kind: str, variables: list[Any]) -> Tensors:
    """Copies of variables as arrays, named by kind and position: Keras' own names differ from process to process."""
    return {f"{kind}/{index:04d}": variable.value.numpy().copy() for index, variable in enumerate(variables)}


def assign(kind: str, variables: list[Any], values: Tensors) -> None:
    """Set variables to what `copies` gave.

    Raises:
        KeyError: one is missing.
        ValueError: one has another shape, or there are more than the variables.
    """
    given = sum(name.startswith(f"{kind}/") for name in values)
    if given > len(variables):
        raise ValueError(f"there are {len(variables)} {kind} variables, got {given}")
    for index, variable in enumerate(variables):
        value = values[f"{kind}/{index:04d}"]
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(f"{variable.path} has shape {tuple(variable.shape)}, got {tuple(value.shape)}")
    for index, variable in enumerate(variables):
        variable.assign(values[f"{kind}/{index:04d}"])


def predict_in_chunks(answer: Any, features: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """What `answer`, a function of a tensor of rows, says of each row: float32 (rows, width)."""
    result = np.empty((len(features), width), dtype=np.float32)
    for start in range(0, len(features), CHUNK_ROWS):
        rows = tf.constant(features[start : start + CHUNK_ROWS], tf.float32)
        result[start : start + len(rows)] = answer(rows).numpy()
    return result


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
