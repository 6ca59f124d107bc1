"""Energy use and cost of a training: measured by codecarbon where it is installed, else an estimate.

The estimate: processor seconds of the job's processes times watts a core, their memory times watts a gigabyte, and the
GPUs' own meters (NVML), or their hours times watts where these cannot be read. Idle parts of the machine, cooling and
the network are left out. Where several things run on one GPU, or codecarbon measures a machine, theirs is counted too.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullcircle.core.cost import Prices, Watts
from fullcircle.core.system.files import write_whole
from fullcircle.training.jobs import RankStats

ENERGY_FILE = "spent.json"
"""In a job's folder: what all launches of it have spent so far."""

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True)
class EnergyUse:
    """What was used, over all launches of a job.

    Attributes:
        cpu_s: processor seconds of all processes, start included.
        gpu_s: seconds for which GPUs were held, added up over them.
        kwh: energy in kilowatt hours.
        how: how `kwh` came about, in words that begin with "estimate" or "codecarbon".
    """

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    kwh: float = 0.0
    how: str = ""

    def __add__(self, later: EnergyUse) -> EnergyUse:
        return EnergyUse(
            cpu_s=self.cpu_s + later.cpu_s,
            gpu_s=self.gpu_s + later.gpu_s,
            kwh=self.kwh + later.kwh,
            how=later.how or self.how,
        )

    def __str__(self) -> str:
        amount = f"{self.kwh:.3f} kWh" if self.kwh >= 0.1 else f"{self.kwh * 1000:.3g} Wh"
        return f"{amount} ({self.how})"

    def cost(self, prices: Prices) -> float | None:
        """In the currency of the prices; None when no price was told."""
        if not prices.is_set:
            return None
        hours = self.cpu_s / 3600 * prices.cpu_core_hour + self.gpu_s / 3600 * prices.gpu_hour
        return hours + self.kwh * prices.kwh


class EnergyMeter:
    """Measures this process and the children it waits for, from being made to `read`."""

    def __init__(self, watts: Watts) -> None:
        self._watts = watts
        self._at = time.monotonic()
        self._cpu_at = _cpu_s()
        self._gpu_at = gpu_joules()
        self._codecarbon = _codecarbon()

    def read(self, use: Sequence[RankStats] = ()) -> EnergyUse:
        """What was spent; `use` adds the processes of other machines, and tells of memory and GPUs."""
        wall_s, here = time.monotonic() - self._at, socket.gethostname()
        cpu_s = _cpu_s() - self._cpu_at + sum(one.cpu_s for one in use if one.host != here)
        gpu_now = gpu_joules()
        joules = gpu_now - self._gpu_at if gpu_now is not None and self._gpu_at is not None else None
        found = estimate(self._watts, use, cpu_s=cpu_s, wall_s=wall_s, gpu_joules=joules)
        tracker, self._codecarbon = self._codecarbon, None
        if tracker is not None and (kwh := _measured_kwh(tracker)) is not None:
            return dataclasses.replace(found, kwh=kwh, how="codecarbon: this machine, measured offline")
        return found


def estimate(
    watts: Watts, use: Sequence[RankStats], *, cpu_s: float, wall_s: float, gpu_joules: float | None = None
) -> EnergyUse:
    """Energy from seconds and watts.

    Args:
        use: each process's memory and GPU; empty for a job of one process, whose memory is this process's.
        cpu_s: processor seconds of all processes. wall_s: how long they took.
        gpu_joules: what this machine's GPUs say they used; None where nothing says so.
    """
    on_gpu = ("cuda", "auto") if gpu_joules is not None else ("cuda",)  # auto: on one where there is one
    gpu_s = sum(one.wall_s for one in use if one.device.startswith(on_gpu) or one.gpu_peak_mb > 0)
    memory_gb = sum(one.peak_mb for one in use) / 1024 or _own_peak_gb()
    joules = cpu_s * watts.cpu_core + memory_gb * wall_s * watts.memory_gb
    how = f"estimate: {watts.cpu_core:g} W a busy core, {watts.memory_gb:g} W a GB of memory"
    if gpu_s and gpu_joules is not None:
        joules += gpu_joules
        how += ", GPUs by their own meter"
    elif gpu_s:
        joules += gpu_s * watts.gpu
        how += f", {watts.gpu:g} W a GPU"
    return EnergyUse(cpu_s=cpu_s, gpu_s=gpu_s, kwh=joules / _JOULES_PER_KWH, how=how)


def energy_before(folder: Path) -> EnergyUse:
    """What earlier launches of a job have spent; nothing when there was none."""
    try:
        return EnergyUse(**json.loads((folder / ENERGY_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return EnergyUse()


@contextmanager
def metered(folder: Path, watts: Watts) -> Iterator[EnergyMeter]:
    """Measure one launch of a job; when it does not come to its end, what it spent is kept for the next one."""
    meter = EnergyMeter(watts)
    try:
        yield meter
    except BaseException:
        save_energy(folder, energy_before(folder) + meter.read())
        raise


def save_energy(folder: Path, energy: EnergyUse) -> None:
    """Write down what a job has spent so far. A full disk is not reported here: it ends the training itself."""
    with suppress(OSError):
        write_whole(folder / ENERGY_FILE, json.dumps(dataclasses.asdict(energy)))


def gpu_joules() -> float | None:
    """What the visible GPUs of this machine have used since their driver was loaded; None without such a meter.

    Source: NVML, nvmlDeviceGetTotalEnergyConsumption (millijoules, Volta and later).
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return None
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        return _total(nvml, visible)
    finally:
        nvml.nvmlShutdown()


def _total(nvml: ctypes.CDLL, visible: str | None) -> float | None:
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return None
    named = [word.strip() for word in (visible or "").split(",") if word.strip()]
    # Names that are no numbers (UUIDs, MIG slices) have no meter of their own here: all GPUs are read then.
    numbers = [int(word) for word in named] if named and all(word.isdigit() for word in named) else range(count.value)
    total = 0.0
    for number in numbers:
        device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)) != 0:
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)) != 0:
            return None
        total += millijoules.value / 1000
    return total


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _own_peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def _codecarbon() -> Any:
    """A tracker of codecarbon, started; None where it is not installed or does not work."""
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it speaks before it reads its own log_level
    with suppress(Exception):
        # The country is asked for, but only turns energy into grams of CO2, which are not used.
        tracker = OfflineEmissionsTracker(
            country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
        )
        tracker.start()
        return tracker
    return None


def _measured_kwh(tracker: Any) -> float | None:
    with suppress(Exception):
        tracker.stop()
        return float(tracker.final_emissions_data.energy_consumed)
    return None
