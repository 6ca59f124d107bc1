"""The `local:N` launcher: N processes of this machine, started and replaced by torch's elastic launcher."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.security.untrusted import LineFormatter
from fullcircle.training.launchers import tpu
from fullcircle.training.launchers.rank_guard import RankFunction, remove_empty_dumps, run_local_rank
from fullcircle.training.launchers.rank_progress import FIRST_STEP_S
from fullcircle.training.launchers.signals import handle_stop_signals, raise_if_unfinished, ranks_reported
from fullcircle.training.launchers.watchdog import Watchdog, run_watchdog
from fullcircle.training.rank_main import run_rank as work

if TYPE_CHECKING:
    from fullcircle.training.jobs import TrainJob

LOGGERS = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing")


def run(job: TrainJob, size: int, *, note: Callable[[str], None] = lambda text: None) -> int:
    """Run a job in `size` processes of this machine. Returns how often dead or hung ones were replaced.

    `note` hears a sentence of each death, from another thread.

    Raises:
        TrainingFailed: a rank died more than `compute.max_restarts` times; how, and where its output is.
        Preempted: the launcher was told to stop, and the ranks did not write a last checkpoint in time.
    """
    return run_ranks(work, job, size, note=note)


def run_ranks(
    work: RankFunction,
    job: TrainJob,
    size: int,
    *,
    note: Callable[[str], None] = lambda text: None,
    first_step_s: float = FIRST_STEP_S,
) -> int:
    """As `run`, for any function that can be imported by its name."""
    watchdog = Watchdog(job.folder, stall_s=job.compute.stall_s, first_step_s=first_step_s, note=note)

    def stop_requested() -> None:
        watchdog.deadline = time.monotonic() + job.compute.grace_s

    with handle_stop_signals(job.folder, stop_requested) as stop_request:
        try:
            with (
                _environment(job),
                _log_to_file(job.folder / "logs"),
                _without_callers_script(),
                run_watchdog(watchdog),
            ):
                restarts = _launch(work, job, size)
        except TrainingFailed:
            # Restarts of ranks that were told to stop, or that found out what is wrong, are none of the caller's.
            if not stop_request.requested and not ranks_reported(job):
                raise
            restarts = job.compute.max_restarts
        finally:
            remove_empty_dumps(job.folder)
        if stop_request.requested:
            raise_if_unfinished(job)
        return restarts


def _launch(work: RankFunction, job: TrainJob, size: int) -> int:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from fullcircle.training.launchers import rendezvous

    rendezvous.register()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=size,
        run_id=job.folder.name,
        rdzv_backend=rendezvous.NAME,
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=job.compute.max_restarts,
        monitor_interval=0.1,
        start_method="spawn",
        logs_specs=DefaultLogsSpecs(log_dir=str(job.folder / "logs"), redirects=Std.ALL),
        # What concerns SIGTERM and Ctrl-C is in `stop_request`: torch would wait for ranks that are already done.
        signals_to_handle="SIGQUIT",
        shutdown_timeout=10,
    )
    before = signal.getsignal(signal.SIGQUIT)
    try:
        restarts: Mapping[int, int] = elastic_launch(config, run_local_rank)(work, job)
    except ChildFailedError as error:
        raise _failed(job, error) from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: torch did not touch it either
            signal.signal(signal.SIGQUIT, before)
    return max(restarts.values(), default=0)


def _failed(job: TrainJob, error: Any) -> TrainingFailed:
    rank, failure = min(error.failures.items(), key=lambda item: item[1].timestamp)
    if failure.exitcode < 0:
        how = f"was killed by {signal.Signals(-failure.exitcode).name}"
        hint = "out of memory is the usual reason of SIGKILL; " if failure.exitcode == -signal.SIGKILL else ""
    else:
        how, hint = f"failed ({_error_line(failure)})", ""
    return TrainingFailed(
        f"training of {job.project} ({job.framework}) stopped: rank {rank} {how}, "
        f"and the ranks had been replaced {job.compute.max_restarts} times",
        hint=f"{hint}what the ranks wrote is in {job.folder / 'logs'}; a resume goes on from the last checkpoint",
    )


def _error_line(failure: Any) -> str:
    """Type and text of the exception, which torch keeps in a file beside a rank's output; one line."""
    said = failure.error_file_data.get("message", "")
    text = str(said.get("message", "") if isinstance(said, dict) else said).strip()
    return text.splitlines()[0] if text else f"exit code {failure.exitcode}"


@contextlib.contextmanager
def _environment(job: TrainJob) -> Iterator[None]:
    """What the ranks inherit: threads, and that they talk over loopback alone."""
    wanted = {
        "OMP_NUM_THREADS": str(job.compute.threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        # Ranks that share the launcher's store find keys of the ranks before them there: restarts then hang.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if job.compute.device == "tpu":
        wanted |= tpu.environment(job.framework)
    before = {name: os.environ.get(name) for name in [*wanted, "TORCHELASTIC_SIGNALS_TO_HANDLE"]}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _log_to_file(logs: Path) -> Iterator[None]:
    """The launcher's library tells of each restart in many lines: into a file instead of on the terminal."""
    logs.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(logs / "launcher.log")
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
        handler.close()


@contextlib.contextmanager
def _without_callers_script() -> Iterator[None]:
    """A spawned process runs the script again that started its parent. A rank needs nothing of it: a job names its
    project, and a script without a guard would launch itself without end."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
