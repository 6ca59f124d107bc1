"""Fingerprint of a training run: digests of arrays, losses and weights, for bit-exact reproduction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1

COMPUTE = ("device", "precision", "strategy", "compile", "accumulate", "threads")
"""The fields of `core.project.Compute` that may change a result."""

VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "XLA_FLAGS", "KERAS_BACKEND", "PYTHONHASHSEED"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)
"""Environment variables that may change a result; they are recorded and set again."""


@dataclass(frozen=True, kw_only=True)
class EpochMark:
    """An epoch's losses, exactly as they were. `step` is the last one of the epoch, counted over all epochs; 0 where
    there are no steps (the baseline is solved, not stepped)."""

    epoch: int
    step: int
    train_loss: float
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What decides the last bits of a sum.

    Attributes:
        cpu: the processor's own name; machine: its architecture.
        cores: that the process may use.
        gpus: names of the GPUs, where NVIDIA's driver tells them.
        python: version of the interpreter.
    """

    cpu: str
    machine: str
    cores: int
    gpus: tuple[str, ...]
    python: str


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What came out of a training, and with what it was made.

    Attributes:
        weights: SHA-256 of the best epoch's weights: names, order, types, shapes and bytes.
        losses: SHA-256 of all step losses (float64, little-endian, in the order of the steps).
        steps: how many there were; every: 1 where each one's loss is kept as a number, 2 where each second, and so on.
        arrays: SHA-256 of what was learned from, and `preprocessing`, that of what was fitted to make it.
        training: the parameters of this framework; compute: those that may change a result.
        place: `inline`, `local:2` or `ray`, as it was, not as it was asked for.
        devices: what each process computed on.
        variables: environment variables that change rounding or threads, those that were set.
        platform: SHA-256 of this package's own code.
    """

    framework: str
    weights: str
    losses: str
    steps: int
    every: int
    epochs: tuple[EpochMark, ...]
    best_epoch: int
    arrays: Mapping[str, str]
    training: Mapping[str, Any]
    compute: Mapping[str, Any]
    place: str
    world_size: int
    devices: tuple[str, ...]
    machine: Machine
    variables: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A training as it was recorded. `requirements`: package -> version. `code`: SHA-256 of the project's code."""

    fingerprint: Fingerprint
    losses: NDArray[np.float64]
    requirements: Mapping[str, str]
    code: str


def fingerprint_of(value: Mapping[str, Any], run_id: str) -> Fingerprint:
    """The fingerprint that was written as JSON.

    Raises:
        UsageError: a newer version wrote it, or it is damaged.
    """
    written = value.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise UsageError(
            f"run {run_id} was recorded by a newer version (format {written}, this one reads {FORMAT})",
            hint="update fullcircle",
        )
    try:
        known = {each.name for each in fields(Fingerprint)}
        plain = {name: each for name, each in value.items() if name in known}
        machine = plain.pop("machine")
        return Fingerprint(
            **{
                **plain,
                "epochs": tuple(EpochMark(**each) for each in plain["epochs"]),
                "devices": tuple(plain["devices"]),
                "machine": Machine(**{**machine, "gpus": tuple(machine["gpus"])}),
            }
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"the fingerprint of run {run_id} is damaged ({error})", hint="train again") from error
