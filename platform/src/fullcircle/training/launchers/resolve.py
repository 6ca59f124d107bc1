"""Resolves `where` to a launcher: the words are parsed and checked against the hardware; `auto` says why it chose."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fullcircle.core.errors import UsageError
from fullcircle.training.launchers import devices
from fullcircle.training.launchers.devices import Device, Hardware

if TYPE_CHECKING:
    from fullcircle.core.project import Compute
    from fullcircle.training.jobs import TrainJob

FORMS = "inline, local:N, ray, ray:N, ray://host:port, host:port (with /N behind it: N processes), or auto"

LOCAL = re.compile(r"local:(?P<size>[+-]?\d+)")
RAY = re.compile(r"ray(?::(?P<size>[+-]?\d+))?")
ADDRESS = re.compile(
    r"(?P<address>(?:ray://)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5}))(?:/(?P<size>[+-]?\d+))?"
)


@dataclass(frozen=True, kw_only=True)
class LauncherChoice:
    """Where a job runs.

    Attributes:
        size: processes; 0: as many as the cluster has places for.
        device: `cpu`, `cuda` or `tpu`; on a cluster as the project says, since its machines are not this one.
        why: why there, for people.
        address: of a Ray cluster; empty: one of our own on this machine.
        device_matters: False for a model that is always trained on the CPU of this process.
    """

    launcher: Literal["inline", "local", "ray"]
    size: int
    device: Device
    why: str
    address: str = ""
    device_matters: bool = True

    def __str__(self) -> str:
        if not self.device_matters:
            return f"inline: {self.why}"
        if self.launcher == "inline":
            return f"inline on {self.device}: {self.why}"
        if self.launcher == "local":
            return f"local:{self.size} on {self.device}: {self.why}"
        return f"ray at {self.address or 'a cluster of its own'}: {self.why}"

    def applied(self, job: TrainJob) -> TrainJob:
        """The job with its device settled.

        Raises:
            UsageError: the framework cannot use the device, or there is no launcher.
        """
        if self.launcher == "local" and importlib.util.find_spec("torch") is None:
            raise UsageError(
                f"local:{self.size} needs torch: its elastic launcher starts the processes of every framework",
                hint='pip install "fullcircle[torch]", or use inline',
            )
        if self.device == "tpu" and self.launcher != "ray":
            devices.resolve("tpu", job.framework, devices.detect_hardware())
        if job.compute.device == "auto" and self.device == "cuda":
            return job  # whether its build can use the GPU, the framework knows: `auto` then falls back to the CPU
        return dataclasses.replace(job, compute=dataclasses.replace(job.compute, device=self.device))


def one_process(why: str) -> LauncherChoice:
    """The launching process itself, whatever was asked for: for a family of models that knows no other way."""
    return LauncherChoice(launcher="inline", size=1, device="cpu", why=why, device_matters=False)


def resolve_launcher(
    where: str, compute: Compute, *, batch_size: int, hardware: Hardware | None = None
) -> LauncherChoice:
    """Read `where` (see FORMS) against this machine's hardware.

    Raises:
        UsageError: no such place, or so many processes cannot be had; in one line, before anything starts.
    """
    hardware = hardware or devices.detect_hardware()
    where = where.strip()
    if where == "auto":
        return _auto(compute, batch_size, hardware)
    if where == "inline":
        return LauncherChoice(launcher="inline", size=1, device=_device(compute, hardware), why="asked for")
    if match := LOCAL.fullmatch(where):
        return _local(int(match["size"]), compute, batch_size, hardware)
    if match := RAY.fullmatch(where) or ADDRESS.fullmatch(where):
        return _ray(where, match, compute, batch_size, hardware)
    raise UsageError(f"no place {where!r} to train in", hint=f"there are {FORMS}")


def _auto(compute: Compute, batch_size: int, hardware: Hardware) -> LauncherChoice:
    if hardware.ray:
        why = "auto, because RAY_ADDRESS names a cluster"
        return LauncherChoice(launcher="ray", size=0, device=compute.device, why=why, address=hardware.ray)
    device = _device(compute, hardware)
    if device == "cuda" and hardware.gpus > 1:
        size = min(hardware.gpus, batch_size)
        return LauncherChoice(
            launcher="local", size=size, device=device, why=f"auto, because {hardware.gpus} GPUs were found"
        )
    if device != "cpu":
        return LauncherChoice(
            launcher="inline", size=1, device=device, why=f"auto, because one {device} device was found"
        )
    cores = "1 core" if hardware.cores == 1 else f"{hardware.cores} cores"
    why = f"auto, because no GPU was found, and on {cores} processes pay only when a step takes long (say local:N then)"
    return LauncherChoice(launcher="inline", size=1, device=device, why=why)


def _local(size: int, compute: Compute, batch_size: int, hardware: Hardware) -> LauncherChoice:
    device = _device(compute, hardware)
    there, of_what = (hardware.gpus, "GPU") if device == "cuda" else (hardware.cores, "core")
    _check_size(f"local:{size}", size, batch_size)
    if size > there and device != "tpu":  # how many chips there are, the TPU's own runtime knows
        found = f"there is 1 {of_what}" if there == 1 else f"there are {there} {of_what}s"
        raise UsageError(
            f"local:{size} wants {size} processes with a {of_what} each, and here {found}",
            hint=(f"use local:{there}" if there > 1 else "use inline")
            + (", or compute.device 'cpu'" if device == "cuda" else ""),
        )
    return LauncherChoice(launcher="local", size=size, device=device, why="asked for")


def _ray(where: str, match: re.Match[str], compute: Compute, batch_size: int, hardware: Hardware) -> LauncherChoice:
    if compute.device == "tpu":
        raise UsageError(f"{where}: TPUs are not used through Ray", hint="use inline or local:N on the TPU machine")
    words = match.groupdict()
    size = int(words["size"]) if words["size"] else 0
    if words["size"]:
        _check_size(where, size, batch_size)
    if not 0 < int(words.get("port") or 1) <= 65535:
        raise UsageError(f"{where}: a port is between 1 and 65535", hint=f"there are {FORMS}")
    address = words.get("address") or hardware.ray
    if not address and not size:
        size = min(hardware.cores, batch_size)
    if not address and size > hardware.cores:
        raise UsageError(f"{where} wants {size} processes, and here are {hardware.cores} cores", hint="use fewer")
    return LauncherChoice(launcher="ray", size=size, device=compute.device, why="asked for", address=address)


def _check_size(where: str, size: int, batch_size: int) -> None:
    if size < 1:
        raise UsageError(f"{where}: there must be at least 1 process", hint=f"there are {FORMS}")
    if size > batch_size:
        raise UsageError(
            f"{where}: a batch of {batch_size} rows cannot be shared among {size} processes",
            hint="use fewer processes, or a larger training.batch_size",
        )


def _device(compute: Compute, hardware: Hardware) -> Device:
    return devices.resolve(compute.device, "", hardware)
