"""One retrain at a time a project, and what a killed run leaves behind, on a real server."""

from __future__ import annotations

import contextvars
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from fullcircle.core.settings import Settings
from fullcircle.orchestration.concurrency_limits import clear_killed_runs, limit_name, one_retrain

HOLDER = """
import sys, time
from prefect import flow
from prefect.runtime import flow_run
from fullcircle.core.settings import Settings
from fullcircle.orchestration.concurrency_limits import one_retrain

@flow
def holder(project: str) -> None:
    with one_retrain(project, Settings.from_env()):
        print(flow_run.id, flush=True)
        time.sleep(600)

holder(sys.argv[1])
"""


@flow(name="retraining", persist_result=False)
def retraining(project: str, inside: object) -> None:
    with one_retrain(project, Settings.from_env()):
        inside()  # type: ignore[operator]


def slots(project: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit_name(project)).active_slots


@pytest.mark.usefixtures("settings")
def test_two_retrains_of_one_project_never_run_at_once() -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.5)
        with lock:
            inside[0] -= 1

    # Prefect's settings are a context variable: each thread gets a copy of this one's.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(retraining, "busy", work)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert slots("busy") == 0


@pytest.mark.usefixtures("settings")
def test_the_slot_is_given_back_when_a_retrain_fails() -> None:
    def fail() -> None:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        retraining("failing", fail)
    assert slots("failing") == 0


def test_a_killed_retrain_gives_its_slot_to_the_next_one_and_is_marked_as_crashed(
    settings: Settings, tmp_path: Path
) -> None:
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    process = subprocess.Popen([sys.executable, str(script), "killed"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        assert slots("killed") == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    entered = []
    begin = time.monotonic()
    retraining("killed", lambda: entered.append(True))
    assert entered == [True]
    assert time.monotonic() - begin < 45, "it waited for the lease to run out"
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
        assert state is not None
        assert (state.is_crashed(), state.message) == (True, "its process was killed")
        assert clear_killed_runs(client, settings) == ()
    assert slots("killed") == 0
