"""A tracker that nobody can reach is told at once to whoever waits for it, and one that is slow is waited for."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullcircle.core.errors import TrackerAway
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.tracking.connection.client import connect
from fullcircle.tracking.connection.connectivity import require_listening, user_is_waiting


@contextlib.contextmanager
def listening(backlog: int = 10) -> Iterator[str]:
    """The address of a socket that accepts connections, and never answers one."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """The address of a port at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def test_a_closed_port_is_told_in_the_systems_words(closed: str) -> None:
    with user_is_waiting():
        for _ in range(2):  # as often as somebody asks
            with pytest.raises(ConnectionError, match=r"^connection refused$"):
                require_listening(closed)


def test_a_command_says_in_its_one_line_that_nobody_listens(closed: str, tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": closed})
    with user_is_waiting(), pytest.raises(TrackerAway) as away:
        connect(settings)
    assert away.value.what == f"MLflow at {closed} failed while connecting: connection refused"
    assert away.value.hint == "is the server of MLFLOW_TRACKING_URI up?"


def test_who_types_a_command_hears_it_before_mlflow_is_even_imported(closed: str, tmp_path: Path) -> None:
    ending = "import sys, atexit; atexit.register(lambda: print('mlflow' in sys.modules))"
    command = f"{ending}; sys.argv = ['fullcircle', 'tensorboard', 'x']; from fullcircle.cli import main; main()"
    env = {**os.environ, "FULLCIRCLE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": closed}
    done = subprocess.run([sys.executable, "-c", command], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
    assert f"MLflow at {closed} failed while connecting: connection refused" in done.stderr


def test_a_host_that_drops_packets_is_told_and_not_waited_for_two_minutes() -> None:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(listening(backlog=0))
        for _ in range(3):  # what waits to be accepted is full: the system drops whoever comes next
            waits = stack.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(("127.0.0.1", int(address.rpartition(":")[2])))
        with user_is_waiting(), pytest.raises(ConnectionError, match=r"^timed out$"):
            require_listening(address, within_s=0.2)


def test_a_server_that_accepts_and_is_slow_to_answer_is_not_called_away() -> None:
    with listening() as address, user_is_waiting():
        require_listening(address)


def test_nobody_waits_in_a_thread_behind_the_block_or_when_the_tracker_was_there_once(closed: str) -> None:
    """There, MLflow's client asks, and asks again: a training goes on meanwhile, and a server comes back."""
    require_listening(closed)
    refused: list[BaseException] = []

    def ask() -> None:
        try:
            require_listening(closed)
        except BaseException as error:
            refused.append(error)

    with user_is_waiting():
        sender = threading.Thread(target=ask)
        sender.start()
        sender.join()
        assert refused == []
        with listening() as address:
            require_listening(address)
        require_listening(closed)
    require_listening(closed)


@pytest.mark.parametrize("uri", ["http://me:hid/den@ho@host", "http://[::1", f"http://{'x' * 64}.y", "http:///mlflow"])
def test_an_address_that_is_none_is_left_to_mlflow(uri: str) -> None:
    with user_is_waiting():
        require_listening(uri)


def test_a_server_behind_a_proxy_is_left_to_mlflow(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with user_is_waiting():
        require_listening(closed)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with user_is_waiting(), pytest.raises(ConnectionError, match="refused"):
        require_listening(closed)
