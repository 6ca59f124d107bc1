"""Finds where a torch number first goes bad: repeats one step with anomaly detection and a hook on every layer.

Forward: the first layer to finish with a number that is not finite. Backward: gradients flow from the loss to the
inputs, and the layer at fault is the one that got a finite gradient and passed on another. Autograd's anomaly
detection adds the operation's name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fullcircle.training.on_torch.models import preserve_rng_state
from fullcircle.training.ports import Diagnosis

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Features, targets and weights of some rows to their loss, through the very model that is diagnosed."""

MOST_PASSES = 256
"""Backward passes that the search for the rows at fault may take."""

_OPERATION = re.compile(r"Function '(\w+)' returned nan")


def diagnose(model: nn.Module, loss: Loss, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> Diagnosis | None:
    """Do one step's forward and backward pass on this rank alone; None when all stayed finite.

    Shapes: x (rows, *inputs), y and w (rows, 1). The model's weights and random state stay as they are; its gradients
    do not.
    """
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if not _finite(values):
            return Diagnosis(layer=name, where="update", rows=())
    model.train()
    watch = _ForwardHooks(model, len(x))
    with preserve_rng_state(), watch.forward():
        value = loss(x, y, w)
    if watch.layer is not None:
        return Diagnosis(layer=watch.layer, where="forward", rows=_some(_bad_rows(x), watch.rows, len(x)))
    if not _finite(value):
        return Diagnosis(layer="loss", where="loss", rows=_some(_bad_rows(y) or _bad_rows(w), (), len(x)))
    found = _backward(model, loss, x, y, w)
    if found is None:
        return None
    return Diagnosis(layer=found, where="backward", rows=_rows_of_gradients(model, loss, x, y, w))


@dataclass
class _ForwardHooks:
    """Forward hooks on every module: the first with a number that is not finite, and in which rows."""

    model: nn.Module
    batch: int
    layer: str | None = None
    rows: tuple[int, ...] = ()

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Look at what each module answers within the block; a module ends after the ones within it."""
        handles = [
            module.register_forward_hook(lambda module, _, output, name=name: self._see(name, module, output))
            for name, module in self.model.named_modules()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see(self, name: str, module: nn.Module, output: Any) -> None:
        for values in _tensors(output):
            if self.layer is None and not _finite(values):
                self.layer = _named(name, module)
                self.rows = _bad_rows(values) if values.dim() and len(values) == self.batch else ()


@dataclass
class _BackwardHooks:
    """Hooks on what flows between modules: where a gradient that is not finite is seen first on the way back.

    A tensor that leaves one module and enters the next is watched at both. The one that it enters computed its
    gradient; when it enters none, an operation of the module around the one that it left did.
    """

    model: nn.Module
    layer: str | None = None
    _faults: dict[int, str] = field(default_factory=dict)
    _kept: list[torch.Tensor] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch every module's inputs and outputs within the block."""
        modules = dict(self.model.named_modules())
        handles: list[Any] = []
        for name, module in modules.items():
            around = name.rpartition(".")[0]
            outside = _named(around, modules[around]) if name else "loss"
            inside = _named(name, module)
            handles += [
                module.register_forward_pre_hook(
                    lambda _, args, kwargs, inside=inside: self._watch([*args, *kwargs.values()], inside, entered=True),
                    with_kwargs=True,
                ),
                module.register_forward_hook(
                    lambda _, args, output, outside=outside: self._watch(output, outside, entered=False)
                ),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, values: Any, at_fault: str, *, entered: bool) -> None:
        for tensor in _tensors(values):
            if not tensor.requires_grad or tensor.is_leaf:
                continue
            known = id(tensor) in self._faults
            if entered or not known:  # the innermost module that it enters has the last word
                self._faults[id(tensor)] = at_fault
            if not known:
                self._kept.append(tensor)  # so that no other tensor gets its id
                tensor.register_hook(self._seer(id(tensor)))  # type: ignore[no-untyped-call]

    def _seer(self, key: int) -> Callable[[torch.Tensor], None]:
        def see(gradient: torch.Tensor) -> None:
            if self.layer is None and not _finite(gradient):
                self.layer = self._faults[key]

        return see


def _backward(model: nn.Module, loss: Loss, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> str | None:
    """The layer or parameter whose gradient goes bad first, with the operation that autograd names."""
    watch = _BackwardHooks(model)
    model.zero_grad(set_to_none=True)
    with preserve_rng_state(), watch.watched():
        loss(x, y, w).backward()  # type: ignore[no-untyped-call]
    layer = watch.layer or next(
        (
            name
            for name, values in reversed(list(model.named_parameters()))
            if values.grad is not None and not _finite(values.grad)
        ),
        None,
    )
    if layer is None:
        return None
    # It stops before any hook, so it goes second; it also warns with the whole stack of the forward pass.
    with preserve_rng_state(), warnings.catch_warnings(action="ignore"), torch.autograd.set_detect_anomaly(True):
        try:
            loss(x, y, w).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            named = _OPERATION.search(str(error))
            return f"{layer}, {named[1]}" if named else layer
    return layer


def _rows_of_gradients(
    model: nn.Module, loss: Loss, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor
) -> tuple[int, ...]:
    """The rows that alone give a gradient that is not finite, found by halving; () when it takes them together."""
    model.eval()  # one row has no batch statistics, and dropout would strike another
    bad: list[int] = []
    waiting: list[Sequence[int]] = [range(len(x))]
    passes = 0
    while waiting and passes < MOST_PASSES:
        rows = waiting.pop()
        passes += 1
        if _gradient_is_finite(model, loss, x, y, w, list(rows)):
            continue
        if len(rows) == 1:
            bad.append(rows[0])
        else:
            waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    model.train()
    return _some(tuple(bad), (), len(x))


def _gradient_is_finite(
    model: nn.Module, loss: Loss, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, rows: list[int]
) -> bool:
    model.zero_grad(set_to_none=True)
    loss(x[rows], y[rows], w[rows]).backward()  # type: ignore[no-untyped-call]
    return all(values.grad is None or _finite(values.grad) for values in model.parameters())


def _some(first: tuple[int, ...], second: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """The rows at fault; none when all are: then it is the layer, not the rows."""
    rows = first or second
    return () if len(rows) == batch else rows


def _bad_rows(values: torch.Tensor) -> tuple[int, ...]:
    flat = values.detach().reshape(len(values), -1)
    return tuple((~torch.isfinite(flat).all(dim=1)).nonzero().flatten().tolist())


def _finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values.detach()).all())


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors in what a module takes or answers, however nested."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)


def _named(name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    return f"{name} ({kind})" if name else kind
