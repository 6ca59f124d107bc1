"""The two UIs, started and ended as a user does it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.processes import answers, free_port
from fullcircle.core.settings import Settings
from fullcircle.orchestration.ui import mlflow_ui, ui

UI = (
    "from fullcircle.core.settings import Settings; from fullcircle.orchestration.ui import ui; ui(Settings.from_env())"
)


def test_both_uis_answer_at_the_addresses_that_are_printed_and_end_with_ctrl_c(tmp_path: Path) -> None:
    # Without the API of the tests' own server, which `connect` put into this environment.
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"} | {
        "FULLCIRCLE_MLFLOW_PORT": str(free_port()),
        "FULLCIRCLE_PREFECT_PORT": str(free_port()),
    }
    home = tmp_path / "home"
    environment["FULLCIRCLE_HOME"] = str(home)
    command = subprocess.Popen([sys.executable, "-c", UI], stdout=subprocess.PIPE, text=True, env=environment, umask=0)
    try:
        assert command.stdout is not None
        lines = [command.stdout.readline() for _ in range(3)]
        found = [re.search(r"http://\S+", line) for line in lines[:2]]
        urls = [each.group() for each in found if each]
        assert len(urls) == 2, lines
        assert all(answers(url) for url in urls)
    finally:
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=40) == 0
    assert not any(answers(url) for url in urls)
    assert [str(each) for each in (home, *home.rglob("*")) if each.lstat().st_mode & 0o077] == []


def test_a_port_that_is_taken_names_the_variable_to_set(settings: Settings) -> None:
    import dataclasses

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = dataclasses.replace(settings, mlflow_port=taken.getsockname()[1])
        with pytest.raises(ServiceUnavailable, match="FULLCIRCLE_MLFLOW_PORT"):
            ui(busy, say=lambda _: None, stop=threading.Event())


def test_a_tracking_server_has_a_ui_of_its_own_already(settings: Settings) -> None:
    import dataclasses

    with pytest.raises(UsageError, match="MLflow runs at http://mlflow:5000 already"):
        mlflow_ui(dataclasses.replace(settings, tracking_uri="http://me:hidden@mlflow:5000"), 5000)
