"""Training hyperparameters, compute settings, and the signature of a project's model function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.field_ranges import (
    LARGEST,
    SMALLEST,
    Count,
    Seconds,
    Within,
    check_fields,
    misfit,
    shown,
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Parameters of training, the same for both frameworks unless `torch` or `keras` in `extra` says otherwise."""

    epochs: Count = 20
    batch_size: Annotated[int, Within(2, 2**31 - 1)] = 512
    learning_rate: Annotated[float, Within(SMALLEST, LARGEST)] = 1e-3
    patience: Count = 3
    class_weights: bool = True
    clip_norm: Annotated[float, Within(SMALLEST, LARGEST)] | None = None
    """Largest norm of the gradient of a step; a longer one is shortened to it. None: as it is."""
    seed: Annotated[int, Within(0, 2**32 - 1)] = 13
    """NumPy and Keras take no other one."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Passed on to the project's model functions as their `params`."""

    def __post_init__(self) -> None:
        check_fields(self, "training")
        for name, value in self.extra.items():
            if not finite(value):
                raise ProjectInvalid(f"training.extra[{name!r}] must have finite numbers, got {shown(value)}")
        check_own(self, ("baseline", "torch", "keras"))


def check_own(training: Training, models: Iterable[str]) -> None:
    """Refuse what does not fit of what `extra` gives one of these models in place of what all are given.

    Raises:
        ProjectInvalid: which model and field, what it must be, what it got.
    """
    for model in models:
        own = training.extra.get(model, {})
        if not isinstance(own, Mapping):
            raise ProjectInvalid(f"training.extra[{model!r}] must be a mapping of parameters, got {shown(own)}")
        for name, value in own.items():
            if name in _TRAINING_FIELDS and (must := misfit(Training, name, value)) is not None:
                where = f"training.extra[{model!r}][{name!r}]"
                raise ProjectInvalid(f"{where} must be {must}, got {shown(value)}")


def finite(value: object) -> bool:
    """Whether all numbers in a plain value are finite: JSON's 1e400 is not, and NaN is read, too."""
    if isinstance(value, list | tuple | Mapping):
        return all(map(finite, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, float) or math.isfinite(value)


_TRAINING_FIELDS = frozenset(each.name for each in fields(Training)) - {"extra"}


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how training runs. It changes speed, memory and rounding; what is learned stays the same.

    Attributes:
        where: `inline`, `local:N` (N processes here), `ray` or `ray://host:port`, or `auto`: what the hardware offers.
        device: `auto`, `cpu`, `cuda` or `tpu`.
        precision: what forward and backward compute in; the weights stay float32.
        strategy: how torch shares a model among processes: `ddp` copies it, `fsdp` shards it (FSDP2).
        compile: torch.compile, or XLA (`jit_compile`) for Keras.
        accumulate: parts that a batch is computed in, one after the other: less memory, the same step.
        threads: threads of one process within an operator. One gives the same bits on every machine.
        checkpoint_every_s, checkpoint_every_steps: whichever comes first; None: not by this. The end of an epoch
            is always one.
        keep: checkpoints that are kept, the newest ones.
        storage: folder or fsspec URL (`s3://bucket/prefix`) for checkpoints; None: under FULLCIRCLE_HOME.
        max_restarts: how often dead or hung processes are replaced before the job fails.
        stall_s: a process without a step for so long is taken for hung.
        grace_s: time to write a checkpoint after SIGTERM.
        budget_s: seconds of steps after which training ends with the best epoch so far; None: no bound.
    """

    where: str = "inline"
    device: Literal["auto", "cpu", "cuda", "tpu"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    accumulate: Annotated[int, Within(1, 2**20)] = 1
    threads: Annotated[int, Within(1, 4096)] = 1
    checkpoint_every_s: Seconds | None = 30.0
    checkpoint_every_steps: Annotated[int, Within(1, 2**53)] | None = None
    keep: Annotated[int, Within(1, 10_000)] = 2
    storage: str | None = None
    max_restarts: Annotated[int, Within(0, 10_000)] = 3
    stall_s: Seconds = 300.0
    grace_s: Annotated[float, Within(0.0, 1e6)] = 30.0
    budget_s: Seconds | None = None

    def __post_init__(self) -> None:
        check_fields(self, "compute")


Shape = tuple[int, ...]
"""Shape of one row's features: `(features,)` of a table, `(height, width, channels)` of an image."""

ModelFunction = Callable[[Any, Mapping[str, Any]], Any]
"""`(inputs, params) -> torch.nn.Module | keras.Model`: float32 (batch, *inputs) in, one logit (batch, 1) out.

`inputs` is the number of features of a table (int); of an image it is (channels, height, width) for torch and
(height, width, channels) for Keras.
"""
