"""Child processes that never outlive us: start on loopback, wait until ready, stop, parent-death signal."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fullcircle.core.errors import ServiceUnavailable

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int, signum: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """What a child calls first, to get `signum` from the kernel when `parent` dies in whatever way, kill -9 included.

    The signal is bound to the thread of the parent that started the child. It needs Linux's prctl(2): elsewhere the
    call does nothing.
    """
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)  # here: between fork and exec a child must not load anything

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died before
            os._exit(1)

    return arm


SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For a Python process that is to take no module from the folder that it is started in."""


def safe_path() -> Mapping[str, str]:
    """SAFE_PATH, for the Python processes that we start, unless this one looks into its working folder itself.

    `python -m` looks there first, where an `http.py` of the user's, or of a stranger's checkout, would stand for the
    standard library's. Whoever starts us by `python -m` means it: a project may import what lies there, and has to find
    it in the processes that serve and train it, too.
    """
    here = {""}
    with contextlib.suppress(FileNotFoundError):  # the working folder was deleted
        here.add(str(Path.cwd()))
    return {} if here & set(sys.path) else SAFE_PATH


@dataclass
class Service:
    """One local server that we started. Use as a context manager; leaving it ends the whole process group.

    On Linux the child gets SIGTERM from the kernel when we die in whatever way, kill -9 included.

    Attributes:
        name: for messages.
        command: argument list, never a shell string.
        ready_url: polled until it answers 200.
        log: file that takes its output.
    """

    name: str
    command: Sequence[str]
    ready_url: str
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 90.0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, while it is ours to end."""
        return self._process.pid if self._process else None

    def start(self) -> Service:
        """Start without waiting; see `wait_ready`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **safe_path(), **self.env},
                start_new_session=True,  # Ctrl-C reaches us alone; we end our children in order
                preexec_fn=die_with_parent(os.getpid()),
            )
        return self

    def wait_ready(self) -> Service:
        """Poll `ready_url` until it answers 200. Raises ServiceUnavailable with the end of the log."""
        assert self._process is not None, "start() first"
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._failed(f"ended with exit code {self._process.returncode}")
            if answers(self.ready_url):
                return self
            time.sleep(0.1)
        self.stop()
        raise self._failed(f"did not answer {self.ready_url} within {self.timeout_s:.0f} s")

    def wait(self) -> None:
        """Block until it ends by itself. Raises ServiceUnavailable: a server has no reason to."""
        process = self._process
        assert process is not None, "start() first"
        raise self._failed(f"ended with exit code {process.wait()}")

    def stop(self) -> None:
        """SIGTERM to its group, SIGKILL after 10 s. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)

    def __enter__(self) -> Service:
        if self._process is None:
            self.start()
        try:
            return self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _failed(self, why: str) -> ServiceUnavailable:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        last = f": {lines[-1].strip()}" if lines else ""
        return ServiceUnavailable(f"{self.name} {why}{last}", hint=f"its log is {self.log}")


def run_to_end(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> int:
    """Run a program until it ends by itself, its output into a file; returns its exit code. When we are stopped
    before (Ctrl-C), it and its children are ended; on Linux also when we are killed.

    Args:
        command: argument list, never a shell string.
        env: the whole environment.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone; we end it in order
            preexec_fn=die_with_parent(os.getpid()),
        )
    try:
        return process.wait()
    except BaseException:
        _end_group(process)
        raise


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its group, SIGKILL after 10 s."""
    for signum, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET of this loopback URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def process_exists(pid: int) -> bool:
    """Whether a process with this id is there, whosever it is; a dead one that nobody waited for counts too."""
    return bool(psutil.pid_exists(pid))


def started_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's clock ticks since boot; None when it is gone, or dead and not waited for.

    With it a process is never mistaken for another one, to which the system gives the same id one day. Where there is
    no /proc, it is 0 for every process that is there. Source: proc(5), field 22 of /proc/<pid>/stat. Not psutil's
    `create_time`, which is of the wall clock and moves when that is set, and which no record of earlier versions has.
    """
    try:
        # Behind the name, which is field 2 and may have spaces and brackets of its own.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() or not process_exists(pid) else 0
    return None if fields[0] in "ZX" else int(fields[22 - 3])


def process_mark(pid: int) -> str:
    """What tells process `pid` from every other one of this machine, of earlier boots too; "" when it is dead."""
    if (ticks := started_ticks(pid)) is None:
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return f"{pid}"
    return f"{boot}-{pid}-{ticks}"


def processor_seconds(pid: int) -> float | None:
    """Processor time that a running process has taken, all its threads together; None where the system does not tell.

    Waiting for a processor is not in it. Source: clock_getcpuclockid(3), as the kernel numbers the clock of a process:
    nanoseconds, where psutil's `cpu_times` are in ticks of 10 ms, longer than most of the requests measured with it.
    """
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def machine_mark() -> str:
    """What tells this boot of this machine, and this process's view of its processes, from all others; "" if unknown.

    Two containers of one host see different processes under the same number. Source: proc(5), pid_namespaces(7).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
