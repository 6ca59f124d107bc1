"""Detects the hardware of this machine without importing a framework, and resolves the device that a job gets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fullcircle.core.errors import UsageError
from fullcircle.training.launchers import tpu

Device = Literal["auto", "cpu", "cuda", "tpu"]
"""What `compute.device` may say; what `resolve` answers is never `auto`."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a job may use here.

    Attributes:
        cores: processor cores that this process may use, after affinity and the container's limit.
        gpus: NVIDIA devices that CUDA_VISIBLE_DEVICES lets us see.
        tpu: where the TPU was seen (a device file, a variable); empty when there is none.
        ray: address of a Ray cluster (RAY_ADDRESS), or empty.
    """

    cores: int
    gpus: int = 0
    tpu: str = ""
    ray: str = ""


def detect_hardware(env: Mapping[str, str] | None = None, root: Path = Path("/")) -> Hardware:
    """Look at this machine. `root`: where its `/dev` and `/sys` are."""
    env = os.environ if env is None else env
    ray = env.get("RAY_ADDRESS", "").strip()
    return Hardware(
        cores=_cores(root),
        gpus=_gpus(env, root),
        tpu=tpu.found(env, root),
        ray="" if ray == "local" else ray,  # Ray's word for a cluster of our own
    )


def resolve(device: Device, framework: str, hardware: Hardware) -> Device:
    """`cpu`, `cuda` or `tpu`: what `auto` means here, or what was asked for if it is to be had.

    Args:
        framework: `torch` or `keras`; empty: its packages are not looked at.

    Raises:
        UsageError: there is no such device here, or the framework's packages cannot use it.
    """
    if device == "auto":
        return "cuda" if hardware.gpus else "cpu"  # a TPU needs packages of its own: never by accident
    if device == "cuda" and not hardware.gpus:
        raise UsageError(
            "device cuda: no NVIDIA GPU is visible here (no /dev/nvidia0, or CUDA_VISIBLE_DEVICES hides it)",
            hint="set compute.device to 'cpu' or 'auto'",
        )
    if device == "tpu":
        tpu.require(framework, hardware.tpu)
    return device


def _cores(root: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _gpus(env: Mapping[str, str], root: Path) -> int:
    there = [path for path in (root / "dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    if "CUDA_VISIBLE_DEVICES" not in env:
        return len(there)
    visible = 0
    for name in env["CUDA_VISIBLE_DEVICES"].split(","):
        if not name.strip() or name.strip() == "-1":  # CUDA: what comes behind an invalid one is hidden, too
            break
        visible += 1
    return min(visible, len(there))
