"""Finds where a Keras number first goes bad: repeats one step eagerly, with a look at every layer and gradient.

Forward: the first layer to finish with a number that is not finite. Backward: gradients flow from the loss to the
inputs, and the layer at fault is the one that got a finite gradient and passed on another.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fullcircle.core.tasks import Objective
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.losses import LOSSES
from fullcircle.training.ports import Diagnosis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def diagnose(
    model: Any,
    optimizer: Any,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    w: NDArray[np.float32],
    count: int,
    objective: Objective = Objective(),  # noqa: B008 - it is frozen
) -> Diagnosis | None:
    """Do one step of one replica; None when all stayed finite. Shapes: x (rows, *shape), y
    (rows,) or (rows, labels), w (rows,).

    Args:
        model: a copy of the model that may be spoiled: it is not the same afterwards.
        optimizer: a copy of the optimizer, built for it; None leaves the update out.
    """
    names = _names(model)
    for variable, name in names.variables():
        if not _finite(variable.value):
            return Diagnosis(layer=name, where="update", rows=())
    with _watched(model) as calls, tf.GradientTape() as tape:
        rows = tf.constant(x)
        tape.watch(rows)
        losses = w * LOSSES[objective.loss](tf.cast(model(rows, training=True), tf.float32), y, objective)
        loss = tf.reduce_sum(losses) / float(count) + sum(model.losses)
    for call in calls:
        if not all(map(_finite, call.outputs)):
            bad = _bad_rows([rows], len(x)) or _bad_rows(call.outputs, len(x))
            return Diagnosis(layer=names.layer(call.operation), where="forward", rows=bad)
    if not _finite(loss):
        return Diagnosis(layer="loss", where="loss", rows=_bad_rows([losses], len(x)))
    return _backward(model, optimizer, names, calls, tape, loss, len(x))


@dataclass
class _Call:
    """One call of a layer, or of an operation of a functional model: what it took and answered, and when."""

    operation: Any
    began: int
    ended: int = 0
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def holds(self, other: _Call) -> bool:
        """Whether the other call was made within this one."""
        return self.began < other.began and other.ended < self.ended


@dataclass(frozen=True)
class _Names:
    """Names for people. Keras counts the layers that it made up names for through the whole process; here each model
    starts anew, so that they are what its author knows from `model.summary()`."""

    of: dict[int, str]
    operations: list[Any]

    def layer(self, operation: Any) -> str:
        """`dense_1 (Dense)`."""
        return f"{self.of[id(operation)]} ({type(operation).__name__})"

    def variables(self) -> Iterator[tuple[Any, str]]:
        """Each variable of the model with the layer that owns it, `dense_1/kernel`."""
        seen: set[int] = set()
        for operation in reversed(self.operations):  # the innermost layer owns it
            for variable in getattr(operation, "variables", ()):
                if id(variable) not in seen:
                    seen.add(id(variable))
                    yield variable, f"{self.of[id(operation)]}/{variable.name}"


def _names(model: Any) -> _Names:
    operations = list(_operations(model))
    counts: dict[str, int] = {}
    of = {}
    for operation in operations:
        name = operation.name
        kind = _snake(type(operation).__name__)
        if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name):
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            name = f"{kind}_{number}" if number else kind
        of[id(operation)] = name
    return _Names(of, operations)


def _operations(model: Any) -> Iterator[Any]:
    """The model, and everything that is called within it, in the order in which it was made."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        operation = waiting.pop(0)
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        yield operation
        inner = [*getattr(operation, "operations", ()), *getattr(operation, "layers", ())]
        if isinstance(operation, keras.Layer):
            inner += operation._flatten_layers(include_self=False, recursive=False)
        waiting = [*inner, *waiting]


@contextlib.contextmanager
def _watched(model: Any) -> Iterator[list[_Call]]:
    """Write every call within the block down, in the order in which they end: what is within another ends first."""
    calls: list[_Call] = []
    clock = iter(range(1_000_000_000))

    def watched(operation: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def seen(*args: Any, **kwargs: Any) -> Any:
            entry = _Call(operation, next(clock), inputs=_tensors((args, kwargs)))
            answer = call(*args, **kwargs)
            entry.outputs = _tensors(answer)
            entry.ended = next(clock)
            calls.append(entry)
            return answer

        return seen

    operations = list(_operations(model))
    for operation in operations:
        operation.call = watched(operation, operation.call)
    try:
        yield calls
    finally:
        for operation in operations:
            del operation.call  # what remains is the method of its class


def _backward(
    model: Any, optimizer: Any, names: _Names, calls: list[_Call], tape: Any, loss: Any, rows: int
) -> Diagnosis | None:
    tensors = [tensor for call in calls for tensor in (*call.inputs, *call.outputs)]
    named = [(variable, name) for variable, name in names.variables() if variable.trainable]
    variables = [variable.value for variable, _ in named]
    found = tape.gradient(loss, [*tensors, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    found = [tf.convert_to_tensor(gradient) for gradient in found]
    of = {id(tensor): gradient for tensor, gradient in zip([*tensors, *variables], found, strict=True)}
    if (guilty := _guilty(calls, of)) is not None:
        passed_on = [of[id(tensor)] for tensor in guilty.inputs]
        return Diagnosis(layer=names.layer(guilty.operation), where="backward", rows=_bad_rows(passed_on, rows))
    gradients = found[len(tensors) :]
    for (_, name), gradient in zip(named, gradients, strict=True):
        if not _finite(gradient):
            return Diagnosis(layer=name, where="backward", rows=())
    if not _finite(tf.linalg.global_norm(gradients)):  # each is finite, but their squares are not
        largest = max(range(len(named)), key=lambda index: float(tf.reduce_max(tf.abs(gradients[index]))))
        return Diagnosis(layer=named[largest][1], where="backward", rows=())
    if optimizer is not None:
        by_id = {id(variable): gradient for (variable, _), gradient in zip(named, gradients, strict=True)}
        optimizer.apply([by_id[id(v)] for v in model.trainable_variables], model.trainable_variables)
        for variable, name in named:
            if not _finite(variable.value):
                return Diagnosis(layer=name, where="update", rows=())
    return None


def _guilty(calls: list[_Call], gradients: dict[int, Any]) -> _Call | None:
    """The call that got finite gradients and passed on others; the innermost one, nearest to the loss."""

    def is_guilty(call: _Call) -> bool:
        got = [gradients[id(tensor)] for tensor in call.outputs]
        own = [variable.value for variable in getattr(call.operation, "trainable_variables", ())]
        passed_on = [gradients[id(tensor)] for tensor in (*call.inputs, *own) if id(tensor) in gradients]
        return all(map(_finite, got)) and not all(map(_finite, passed_on))

    guilty = [call for call in calls if is_guilty(call)]
    if not guilty:
        return None
    last = guilty[-1]
    while within := [call for call in guilty if last.holds(call)]:
        last = within[-1]
    return last


def _tensors(values: Any) -> list[Any]:
    """The floating-point tensors in what a layer takes or answers, however nested."""
    return [value for value in tf.nest.flatten(values) if tf.is_tensor(value) and value.dtype.is_floating]


def _finite(values: Any) -> bool:
    return not values.dtype.is_floating or bool(tf.reduce_all(tf.math.is_finite(values)))


def _bad_rows(tensors: list[Any], rows: int) -> tuple[int, ...]:
    """The rows with a number that is not finite; none when all have one: then it is the layer, not the rows."""
    for values in tensors:
        if values.shape.rank and values.shape[0] == rows:
            flat = tf.reshape(values, (rows, -1))
            bad = tf.where(~tf.reduce_all(tf.math.is_finite(flat), axis=1))[:, 0].numpy().tolist()
            if 0 < len(bad) < rows:
                return tuple(bad)
    return ()


def _snake(name: str) -> str:
    """As Keras makes names of layers up: `BatchNormalization` is `batch_normalization`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
