"""What holds for every test: telemetry off, a home of its own, and nothing leaves this machine."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from fullcircle.core.settings import quiet_dependencies

# Before any tool is imported: most read their switches once, at import.
quiet_dependencies()
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same numbers on every machine
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A shell that starts the tests in the background lets them, and so the programs under test, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A developer's own servers and settings are none of a test's business.
_THEIRS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
for name in [*_THEIRS, *(name for name in os.environ if name.startswith("FULLCIRCLE_"))]:
    os.environ.pop(name, None)

# Time limits make a property test fail on a busy machine and say nothing about the property.
hypothesis.settings.register_profile("house", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")

_left_the_machine: list[str] = []


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):  # str and bytes: a Unix socket
        return
    host = str(arguments[1][0])
    try:
        inside = ipaddress.ip_address(host.split("%")[0]).is_loopback or host in ("0.0.0.0", "::")
    except ValueError:
        inside = host == "localhost"
    if not inside:
        _left_the_machine.append(f"{host}:{arguments[1][1]}")
        raise OSError(errno.ENETUNREACH, f"a test tried to reach {host}: tests stay on this machine")


# An audit hook sees every connection of this process, whichever library opens it, and patches nothing.
sys.addaudithook(_loopback_only)


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine() -> Iterator[None]:
    """Fail the test during which this process tried to reach another machine, even if a library hid the error."""
    _left_the_machine.clear()
    yield
    assert _left_the_machine == [], "tried to reach another machine"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own: no test reads or writes the developer's runs, whatever the environment names."""
    monkeypatch.setenv("FULLCIRCLE_HOME", str(tmp_path_factory.mktemp("home")))
    yield
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)  # MLflow itself writes them, and the next test's programs would read them


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
