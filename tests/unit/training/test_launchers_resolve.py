"""Where a job runs: what `where` may say, what `auto` picks and why, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launchers import devices, tpu
from fullcircle.training.launchers.devices import Hardware
from fullcircle.training.launchers.resolve import resolve_launcher

TWO_CORES = Hardware(cores=2)
TWO_GPUS = Hardware(cores=8, gpus=2)


@pytest.mark.parametrize(
    ("where", "launcher", "size", "address"),
    [
        ("inline", "inline", 1, ""),
        ("local:1", "local", 1, ""),
        ("local:2", "local", 2, ""),
        ("ray", "ray", 2, ""),
        ("ray:1", "ray", 1, ""),
        ("ray://head.example:10001", "ray", 0, "ray://head.example:10001"),
        ("ray://10.0.0.1:10001/4", "ray", 4, "ray://10.0.0.1:10001"),
        ("10.0.0.1:6379", "ray", 0, "10.0.0.1:6379"),
        ("[::1]:6379/3", "ray", 3, "[::1]:6379"),
    ],
)
def test_what_where_says_is_what_is_chosen(where: str, launcher: str, size: int, address: str) -> None:
    choice = resolve_launcher(where, Compute(), batch_size=64, hardware=TWO_CORES)
    assert (choice.launcher, choice.size, choice.address, choice.device) == (
        launcher,
        size,
        address,
        "auto" if launcher == "ray" else "cpu",
    )


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "no place ''"),
        ("everywhere", "no place 'everywhere'"),
        ("local", "no place 'local'"),
        ("local:", "no place 'local:'"),
        ("local:two", "no place 'local:two'"),
        ("local:2.0", "no place 'local:2.0'"),
        ("local:0", "local:0: there must be at least 1 process"),
        ("local:-1", "local:-1: there must be at least 1 process"),
        ("local:64", "local:64 wants 64 processes with a core each, and here there are 2 cores"),
        ("ray:0", "ray:0: there must be at least 1 process"),
        ("ray:64", "ray:64 wants 64 processes, and here are 2 cores"),
        ("ray://", "no place 'ray://'"),
        ("ray://head", "no place 'ray://head'"),
        ("ray://head:99999", "a port is between 1 and 65535"),
        ("http://head:80", "no place 'http://head:80'"),
    ],
)
def test_nonsense_is_refused_in_one_line(where: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_launcher(where, Compute(), batch_size=1000, hardware=TWO_CORES)
    assert says in refused.value.what
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_more_processes_than_gpus_or_rows_of_a_batch_cannot_be_had() -> None:
    with pytest.raises(UsageError, match="local:3 wants 3 processes with a GPU each, and here there are 2 GPUs"):
        resolve_launcher("local:3", Compute(), batch_size=64, hardware=TWO_GPUS)
    with pytest.raises(UsageError, match="local:2 wants 2 processes with a GPU each, and here there is 1 GPU"):
        resolve_launcher("local:2", Compute(device="cuda"), batch_size=64, hardware=Hardware(cores=8, gpus=1))
    with pytest.raises(UsageError, match="a batch of 1 rows cannot be shared among 2 processes"):
        resolve_launcher("local:2", Compute(), batch_size=1, hardware=TWO_CORES)
    with pytest.raises(UsageError, match="ray:2: TPUs are not used through Ray"):
        resolve_launcher("ray:2", Compute(device="tpu"), batch_size=64, hardware=TWO_CORES)
    assert resolve_launcher("local:8", Compute(device="cpu"), batch_size=64, hardware=TWO_GPUS).device == "cpu"


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        (TWO_CORES, "inline on cpu: auto, because no GPU was found, and on 2 cores processes pay only when"),
        (Hardware(cores=8, gpus=1), "inline on cuda: auto, because one cuda device was found"),
        (TWO_GPUS, "local:2 on cuda: auto, because 2 GPUs were found"),
        (Hardware(cores=4, ray="10.0.0.1:6379"), "ray at 10.0.0.1:6379: auto, because RAY_ADDRESS names a cluster"),
    ],
)
def test_auto_says_what_it_picked_and_why(hardware: Hardware, said: str) -> None:
    assert str(resolve_launcher("auto", Compute(), batch_size=64, hardware=hardware)).startswith(said)


def test_ray_without_an_address_goes_where_the_environment_says() -> None:
    assert (
        resolve_launcher("ray:3", Compute(), batch_size=64, hardware=Hardware(cores=1, ray="h:6379")).address
        == "h:6379"
    )


def test_the_hardware_is_what_the_container_may_use(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert devices.detect_hardware({}, tmp_path).gpus == 2
    assert devices.detect_hardware({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path).gpus == 1
    assert devices.detect_hardware({"CUDA_VISIBLE_DEVICES": ""}, tmp_path).gpus == 0
    assert devices.detect_hardware({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, tmp_path).gpus == 1
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("100000 100000\n")
    assert devices.detect_hardware({}, tmp_path).cores == 1


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="device cuda: no NVIDIA GPU is visible here"):
        resolve_launcher("inline", Compute(device="cuda"), batch_size=64, hardware=TWO_CORES)
    with pytest.raises(UsageError, match="device tpu: no TPU is seen here"):
        resolve_launcher("inline", Compute(device="tpu"), batch_size=64, hardware=TWO_CORES)


def test_a_tpu_is_seen_by_its_device_file_or_its_variables(tmp_path: Path) -> None:
    assert tpu.found({}, tmp_path) == ""
    assert tpu.found({"TPU_WORKER_ID": "0"}, tmp_path) == "TPU_WORKER_ID"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "accel0").touch()
    assert tpu.found({}, tmp_path) == "/dev/accel0"


@pytest.mark.parametrize(
    ("framework", "says"),
    [("torch", "torch needs the package torch_tpu"), ("keras", "has no TPU kernels; tensorflow-tpu has")],
)
def test_with_a_tpu_the_package_that_is_missing_is_named(framework: str, says: str) -> None:
    hardware = Hardware(cores=2, tpu="/dev/accel0")
    with pytest.raises(UsageError, match=says) as refused:
        devices.resolve("tpu", framework, hardware)
    assert "docs/training.md" in refused.value.hint
    assert devices.resolve("auto", framework, hardware) == "cpu", "a TPU is never taken by accident"


def test_keras_without_torch_is_told_that_processes_need_its_launcher(
    monkeypatch: pytest.MonkeyPatch, job: TrainJob
) -> None:
    job = dataclasses.replace(job, framework="keras")
    choice = resolve_launcher("local:2", Compute(), batch_size=64, hardware=TWO_CORES)
    assert choice.applied(job).compute.device == "cpu"
    monkeypatch.setitem(sys.modules, "torch", None)  # the import system's own word for "not to be had"
    with pytest.raises(UsageError, match="local:2 needs torch: its elastic launcher"):
        choice.applied(job)


def test_a_rank_of_keras_is_told_where_the_tpus_library_is() -> None:
    assert tpu.environment("keras")["TF_PLUGGABLE_DEVICE_LIBRARY_PATH"] == "/lib/libtpu.so"
    assert tpu.environment("torch") == {}
