"""A torch engine's part of a checkpoint, written by any number of ranks and read by any other.

- `*.distcp`, `tensors.json`: weights and the optimizer's tensors, by torch's distributed checkpoint (`dcp_storage`).
  Every rank writes what it has; equal tensors are written once. The names are the parameters', so no number of ranks is
  in them.
- `rng-<rank>.npz`: the random state of one rank, as plain arrays.
- `learner.pt`: the step, the optimizer's numbers that are no tensors, the states of gradient scaler and schedule. It is
  read with `weights_only`, which makes tensors and plain values alone.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from fullcircle.training.on_torch.dcp_storage import Reader, TensorWriter
from fullcircle.training.on_torch.process_group import AnyProcessGroup
from fullcircle.training.ports import Pending, Tensors

OTHERS = "learner.pt"


def begin(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    process_group: AnyProcessGroup,
    others: Mapping[str, Any],
) -> Pending:
    """Copy this rank's state now, and write it while training goes on. Collective.

    `others` is what else `restore` gives back: plain values and tensors, the same on each rank.
    """
    tensors, numbers = _state(model, optimizer)
    groups = [_plain(group) for group in optimizer.param_groups]
    failed: OSError | None = None
    try:
        _write_random(folder / f"rng-{process_group.rank}.npz", process_group.device)
        if process_group.rank == 0:
            with (folder / OTHERS).open("wb") as stream:
                torch.save({**others, "numbers": numbers, "groups": groups}, stream)
                _flush_and_fsync(stream)
    except OSError as error:  # the other ranks are on their way into the collective below: tell it afterwards
        failed = error
    warnings.filterwarnings("ignore", "torch.distributed is disabled")  # alone on purpose
    writer = TensorWriter(folder)
    future: Any = async_save(
        tensors, storage_writer=writer, process_group=process_group.checkpoints, no_dist=process_group.size == 1
    )
    return _PendingWrite(future, failed)


class _PendingWrite:
    """A checkpoint of this rank on its way to disk (`ports.Pending`)."""

    def __init__(self, future: Future[Any], failed: OSError | None) -> None:
        self._future, self._failed = future, failed

    def done(self) -> bool:
        """Whether it is on disk. Raises what went wrong."""
        if not self._future.done():
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Block until it is. Raises what went wrong."""
        try:
            self._future.result()
        except CheckpointException as error:
            for cause, _ in error.failures.values():
                if isinstance(cause, OSError):
                    raise cause from error
            causes = "; ".join(f"rank {rank}: {cause}" for rank, (cause, _) in error.failures.items())
            raise RuntimeError(f"the checkpoint was not written ({causes})") from error
        if self._failed is not None:
            raise self._failed


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, process_group: AnyProcessGroup
) -> dict[str, Any]:
    """Put a folder's weights and optimizer state in place. Collective.

    Returns:
        What was given to `begin` as `others`.

    Raises:
        ValueError: the checkpoint is of another model or optimizer, or cannot be read.
        KeyError: it lacks a tensor.
    """
    try:
        content: dict[str, Any] = torch.load(folder / OTHERS, weights_only=True, map_location="cpu")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch has no one error for a file that it refuses, or cannot read
        raise ValueError(f"{folder / OTHERS} cannot be read ({error})") from error
    warnings.filterwarnings("ignore", "torch.distributed is disabled")
    reader = Reader(folder)
    saved = reader.read_metadata().state_dict_metadata
    tensors: dict[str, Any] = {f"model/{name}": values for name, values in model.state_dict().items()}
    _require_same(tensors, saved)
    slots = _slots(saved, model, optimizer)
    tensors |= {f"optimizer/{name}/{slot}": values for (name, slot), values in slots.items()}
    try:
        with torch.no_grad():
            load(tensors, storage_reader=reader, process_group=process_group.control, no_dist=process_group.size == 1)
    except CheckpointException as error:
        raise ValueError(f"the checkpoint {folder} cannot be read ({error.failures})") from error
    _refill(optimizer, model, slots, content)
    return content


def fill(state: Mapping[str, Any], weights: Tensors) -> None:
    """Copy whole arrays into a model's own (perhaps sharded) tensors.

    Raises:
        KeyError, ValueError: they do not fit; nothing was changed.
    """
    for name, values in state.items():
        if name not in weights:
            raise KeyError(f"no weights for {name}")
        if tuple(values.shape) != np.shape(weights[name]):
            raise ValueError(f"{name} has shape {tuple(values.shape)}, the weights {np.shape(weights[name])}")
    if unknown := sorted(set(weights) - set(state)):
        raise KeyError(f"the model has no {unknown[0]}")
    with torch.no_grad():
        for name, values in state.items():
            whole = torch.from_numpy(np.array(weights[name])).to(values.device, values.dtype)
            if hasattr(values, "device_mesh"):
                from torch.distributed.tensor import distribute_tensor

                whole = distribute_tensor(whole, values.device_mesh, values.placements, src_data_rank=None)
            values.copy_(whole)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors by name, and those slots of the optimizer that are numbers."""
    tensors: dict[str, Any] = {f"model/{name}": values for name, values in model.state_dict().items()}
    numbers: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{name}/{slot}"] = value
            elif value is not None:
                numbers[f"optimizer/{name}/{slot}"] = value
    return tensors, numbers


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's settings: the learning rate, which a schedule may have changed, and its like."""
    plain = (bool, int, float, str, list, tuple, torch.Tensor)
    return {key: value for key, value in group.items() if key != "params" and isinstance(value, plain)}


def _require_same(tensors: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    there = {name: tuple(entry.size) for name, entry in saved.items() if name.startswith("model/")}
    here = {name: tuple(values.shape) for name, values in tensors.items()}
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise ValueError(
                f"the checkpoint is of another model: {name.removeprefix('model/')} has shape "
                f"{there.get(name, 'none')} there and {here.get(name, 'none')} here"
            )


def _slots(
    saved: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[tuple[str, str], torch.Tensor]:
    """Empty tensors for the optimizer's saved ones, sharded like their parameters."""
    parameters = dict(model.named_parameters())
    on_device = {
        parameter: bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    slots: dict[tuple[str, str], torch.Tensor] = {}
    for key, entry in saved.items():
        if not key.startswith("optimizer/"):
            continue
        name, _, slot = key.removeprefix("optimizer/").rpartition("/")
        if name not in parameters:
            raise ValueError(f"the checkpoint is of another optimizer: it has {key}")
        parameter, dtype = parameters[name], entry.properties.dtype
        if entry.size == parameter.shape and parameter.dim():
            slots[name, slot] = torch.zeros_like(parameter, dtype=dtype).detach()
        else:
            device = parameter.device if on_device.get(parameter) else torch.device("cpu")
            slots[name, slot] = torch.zeros(entry.size, dtype=dtype, device=device)
    return slots


def _refill(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    slots: Mapping[tuple[str, str], torch.Tensor],
    content: Mapping[str, Any],
) -> None:
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for (name, slot), values in slots.items():
        optimizer.state[parameters[name]][slot] = values
    for key, number in content["numbers"].items():
        name, _, slot = key.removeprefix("optimizer/").rpartition("/")
        optimizer.state[parameters[name]][slot] = number
    for group, saved in zip(optimizer.param_groups, content["groups"], strict=True):
        for key, value in saved.items():
            if isinstance(group.get(key), torch.Tensor):
                group[key].copy_(value)  # in place: a compiled step may hold it
            else:
                group[key] = value


def _flush_and_fsync(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _write_random(path: Path, device: torch.device) -> None:
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state().numpy(),
        "numpy_keys": keys,
        "numpy": np.array([position, has_gauss, cached], dtype=np.float64),
        "python_words": np.array(words, dtype=np.uint64),
        "python": np.array([version, gauss is not None, gauss or 0.0], dtype=np.float64),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).numpy()
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **state)
        _flush_and_fsync(stream)


def restore_random(folder: Path, rank: int) -> bool:
    """Put this rank's random state back; False when the checkpoint has none: the process group was smaller then."""
    path = folder / f"rng-{rank}.npz"
    if not path.is_file():
        return False
    with np.load(path, allow_pickle=False) as state:
        torch.set_rng_state(torch.from_numpy(state["torch"]))
        if "cuda" in state.files and torch.cuda.is_available():
            torch.cuda.set_rng_state(torch.from_numpy(state["cuda"]))
        position, has_gauss, cached = state["numpy"].tolist()
        np.random.set_state(("MT19937", state["numpy_keys"], int(position), int(has_gauss), cached))  # noqa: NPY002
        version, has, gauss = state["python"].tolist()
        words = tuple(int(word) for word in state["python_words"])
        random.setstate((int(version), words, gauss if has else None))
    return True
