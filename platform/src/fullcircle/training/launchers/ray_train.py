"""The `ray` launcher: the ranks run on a Ray cluster, our own on this machine or one at an address, by Ray Train V2.

Ray starts and replaces the ranks. Checkpoints are ours (`job.storage`), as with every launcher: what `ray.train.report`
is given is lost with the worker that gave it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import ServiceUnavailable, TrainingFailed, UsageError
from fullcircle.training.launchers import rank_guard
from fullcircle.training.launchers.rank_guard import RankFunction
from fullcircle.training.launchers.signals import handle_stop_signals, raise_if_unfinished, ranks_reported
from fullcircle.training.rank_main import run_rank as work
from fullcircle.training.telemetry.node_metrics import log_node_metrics

if TYPE_CHECKING:
    from fullcircle.training.jobs import TrainJob

CONNECT_S = 5.0
"""Patience with an address that does not answer."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's shared memory in a cluster of our own. Arrays are mapped from files, never sent; Ray wants at least 75 MiB."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a job's folders may be relative to the caller's
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Ray's switches, where the user chose none: no telemetry, no metrics, and a dead rank is seen within a second."""


def run(job: TrainJob, address: str, size: int, *, note: Callable[[str], None] = lambda text: None) -> int:
    """Run a job on a Ray cluster. Returns how often its ranks were replaced.

    Args:
        address: `host:port` or `ray://host:port`; empty: a cluster of our own on this machine, ended afterwards.
        size: processes; 0: one for each GPU of the cluster, or, without any, for each processor.

    Raises:
        UsageError: Ray is not installed, or the cluster has no room for so many processes.
        ServiceUnavailable: nothing answers at the address.
        TrainingFailed: ranks died more than `compute.max_restarts` times.
        Preempted: told to stop, and the ranks wrote no checkpoint in time.
    """
    require_ray()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    deadlines: list[float] = []

    def stop_requested() -> None:
        deadlines.append(time.monotonic() + job.compute.grace_s)

    with (
        _connected(address, cpus=size * job.compute.threads),
        handle_stop_signals(job.folder, stop_requested, by_signal=False) as stop_request,
    ):
        size = size or _available_slots(job)
        _check_resources(job, size)
        attempts = _Attempts(job.folder)
        try:
            _wait_for(
                _in_thread(lambda: _run_trainer(work, job, size, remote=address.startswith("ray://"))),
                late=lambda: bool(deadlines) and time.monotonic() > deadlines[0],
            )
        except TrainingFailed:
            if not stop_request.requested and not ranks_reported(job):
                raise
        if stop_request.requested:
            raise_if_unfinished(job)
        restarts = max(0, attempts.made() - 1)
        if restarts:
            note(f"Ray replaced the ranks {restarts} times")
        return restarts


def require_ray() -> None:
    """Raise UsageError naming the extra unless Ray Train can be imported."""
    try:
        import ray.train  # noqa: F401
    except ImportError as error:
        raise UsageError(f"Ray is not installed here ({error})", hint='pip install "fullcircle[ray]"') from error


def rank_on_ray(config: dict[str, Any]) -> None:
    """One rank, within a worker of Ray Train. What training raises, Ray answers by replacing the ranks."""
    import ray.train

    context = ray.train.get_context()
    job: TrainJob = config["job"]
    os.environ.update(
        {
            rank_guard.LAUNCHER: "ray",
            "RANK": str(context.get_world_rank()),
            "WORLD_SIZE": str(context.get_world_size()),
            "LOCAL_RANK": str(context.get_local_rank()),
            "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        }
    )
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray asks for Keras 2, which nobody here has
    if context.get_world_rank() == 0:
        _Attempts(job.folder).add()
    guard = rank_guard.guard_rank(job, context.get_world_rank())
    try:
        if not guard.stop_requested():
            with log_node_metrics(job.run_id):
                config["work"](job, stop=guard.stop_requested)
    finally:
        guard.close()


class _Attempts:
    """How often the ranks were started: rank 0 adds a byte each time, wherever it runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "attempts"
        self._before = self._size()

    def add(self) -> None:
        with self._path.open("ab") as attempts:
            attempts.write(b".")

    def made(self) -> int:
        return self._size() - self._before

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _in_thread(target: Callable[[], None]) -> Future[None]:
    """In the main thread Ray would take Ctrl-C for itself, and SIGTERM would not be looked at in between."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True, name="ray").start()
    return future


def _wait_for(future: Future[None], *, late: Callable[[], bool]) -> None:
    while not wait([future], timeout=0.2).done:
        if late():
            return
    future.result()


@contextlib.contextmanager
def _connected(address: str, *, cpus: int) -> Iterator[None]:
    import ray

    if ray.is_initialized():  # the application's own connection stays as it is
        yield
        return
    folder = None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            _probe(address)
            ray.init(address=address, **({} if address.startswith("ray://") else quiet))
        else:
            folder = tempfile.mkdtemp(prefix="fc-ray-")  # short: it holds Unix sockets, whose paths are limited
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ServiceUnavailable(
            f"no connection to Ray at {address or 'a cluster of its own'} ({type(error).__name__}: {reason})",
            hint="its version of Ray and of Python must be ours" if address else f"its logs are in {folder}",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()  # ends a cluster only if we started it
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _probe(address: str) -> None:
    """Ray itself tries an address for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # `auto`, or a port that Ray knows: RAY_ADDRESS may say so
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise ServiceUnavailable(
            f"no Ray cluster answers at {address} ({error.strerror or error})",
            hint="check the address: 6379 is the port of 'ray start --head', 10001 that of ray://",
        ) from error


def _available_slots(job: TrainJob) -> int:
    there = _resources()
    places = there.get("GPU", 0) if job.compute.device in ("auto", "cuda") else 0
    return max(1, min(int(places or there.get("CPU", 1) // job.compute.threads), job.training.batch_size))


def _check_resources(job: TrainJob, size: int) -> None:
    """Ray would wait for ever for what the cluster does not have."""
    kind = "GPU" if job.compute.device == "cuda" else "CPU"
    need = size if kind == "GPU" else size * job.compute.threads
    there = int(_resources().get(kind, 0))
    if need > there:
        raise UsageError(
            f"{size} processes want {need} {kind}s of the Ray cluster, and it has {there}", hint="use fewer processes"
        )


def _resources() -> dict[str, float]:
    import ray

    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return there


def _run_trainer(work: RankFunction, job: TrainJob, size: int, *, remote: bool) -> None:
    import ray
    from ray.exceptions import RayError

    storage = tempfile.mkdtemp(prefix="fc-ray-run-")  # Ray writes down there what it knows of the run: not our results
    try:
        if remote:  # through Ray's client the trainer itself must run in the cluster
            ray.get(ray.remote(num_cpus=0)(_fit).remote(work, job, size, None))
        else:
            _fit(work, job, size, storage)
    except (RuntimeError, RayError) as error:  # Ray Train's own errors are RuntimeErrors
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no message")
        raise TrainingFailed(
            f"training of {job.project} ({job.framework}) on Ray stopped after {job.compute.max_restarts} "
            f"replacements of its processes ({reason[:300]})",
            hint="a resume goes on from the last checkpoint",
        ) from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _fit(work: RankFunction, job: TrainJob, size: int, storage: str | None) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    gpu = _on_gpu(job)
    trainer: Any
    if job.framework == "keras":
        from ray.train.tensorflow import TensorflowTrainer as trainer  # noqa: N813
    else:
        from ray.train.torch import TorchTrainer as trainer  # noqa: N813
    trainer(
        rank_on_ray,
        train_loop_config={"work": work, "job": job},
        scaling_config=ScalingConfig(
            num_workers=size,
            use_gpu=gpu,
            resources_per_worker={"CPU": job.compute.threads, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=job.folder.name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=job.compute.max_restarts),
        ),
    ).fit()


def _on_gpu(job: TrainJob) -> bool:
    return job.compute.device == "cuda" or (job.compute.device == "auto" and bool(_resources().get("GPU", 0)))
