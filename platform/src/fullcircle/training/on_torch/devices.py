"""The device that a rank computes on, and its precision."""

from __future__ import annotations

import importlib
import os

import torch

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute
from fullcircle.training.launchers import tpu

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_for(compute: Compute) -> torch.device:
    """The device of this process: with CUDA the one that LOCAL_RANK names.

    Raises:
        UsageError: the device asked for is not here.
    """
    if compute.device == "tpu":
        return _tpu()
    found = torch.cuda.is_available()
    if compute.device == "cpu" or (compute.device == "auto" and not found):
        return torch.device("cpu")
    if not found:
        raise UsageError(
            f"compute.device is 'cuda', but torch {torch.__version__} finds no GPU here",
            hint="use device 'auto' or 'cpu', or install torch for CUDA and its driver",
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _tpu() -> torch.device:
    tpu.require("torch", tpu.found(os.environ))
    importlib.import_module("torch_tpu")  # it makes itself known to torch as a device
    return torch.device("tpu", int(os.environ.get("LOCAL_RANK", "0")))


def check_precision(compute: Compute, device: torch.device) -> None:
    """Refuse a precision that this device cannot compute in.

    Raises:
        UsageError: no such precision, or this GPU has no bfloat16.
    """
    if compute.precision not in PRECISIONS:
        raise UsageError(f"compute.precision must be one of {', '.join(PRECISIONS)}, got {compute.precision!r}")
    if compute.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError(
            f"{torch.cuda.get_device_name(device)} cannot compute in bfloat16", hint="use precision 'float16'"
        )
