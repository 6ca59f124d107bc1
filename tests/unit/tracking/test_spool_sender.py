"""The thread that sends gives up in time: at once for a run that the tracker never knew, else after some patience."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import pytest

from fullcircle.core.errors import TrackerAway
from fullcircle.core.framed_log.frames import read
from fullcircle.core.settings import Settings
from fullcircle.tracking.spool.backend import Backend
from fullcircle.tracking.spool.sender import Sender
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolMetadata, create_spool_dir
from fullcircle.tracking.spool.spool_file import KIND, Point, Points, decode

BEGIN = NewRun(experiment="e", experiment_tags={}, name="n", tags={}, started_ms=1)
FOR_EVER_S = 1e9


class Away:
    """A tracker that is never there; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def __call__(self) -> Backend:
        self.asked.release()
        raise TrackerAway("nobody is there")


@contextmanager
def sending(home: Path, run_id: str | None, backend: Away) -> Iterator[Sender]:
    about = SpoolMetadata(tracker="http://tracker", run_id=run_id, key="k", begin=BEGIN, made_ms=1)
    with create_spool_dir(Settings.from_env({"FULLCIRCLE_HOME": str(home)}), "one", about) as folder:
        sender = Sender(folder, backend)
        sender.start()
        try:
            yield sender
        finally:
            sender.close()


@pytest.mark.parametrize(("run_id", "gives_up"), [(None, True), ("run", False)])
def test_a_tracker_that_never_heard_of_the_run_is_not_waited_for(
    tmp_path: Path, run_id: str | None, gives_up: bool
) -> None:
    away, drained = Away(), list[bool]()
    with sending(tmp_path, run_id, away) as sender:
        drain = threading.Thread(target=lambda: drained.append(sender.drain(FOR_EVER_S)), daemon=True)
        drain.start()
        for _ in range(3):
            assert away.asked.acquire(timeout=30) or gives_up
        drain.join(timeout=30 if gives_up else 0.5)
        assert drain.is_alive() is not gives_up
        assert isinstance(sender.error, TrackerAway)
    drain.join(timeout=30)  # closing ends the wait of the patient one
    assert drained == [False]


class Held:
    """A tracker that takes a request of points and does not answer before it may."""

    def __init__(self) -> None:
        self.asked, self.may = threading.Event(), threading.Event()
        self.steps: list[int] = []

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        self.asked.set()
        assert self.may.wait(timeout=300)
        self.steps += [step for _, _, _, step in points]


def test_a_request_that_is_not_answered_holds_up_neither_the_file_nor_its_fsync(tmp_path: Path) -> None:
    synced, held = threading.Semaphore(0), Held()

    def watch(_frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called is os.fsync:
            synced.release()

    about = SpoolMetadata(tracker="http://tracker", run_id="run", key="run", begin=None, made_ms=1)
    threading.setprofile(watch)  # of the thread that writes: it is started with the spool
    try:
        spool = Spool(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)}), "one", about, lambda: cast(Backend, held))
    finally:
        threading.setprofile(None)
    spool.start()
    spool.points({"loss": 1.0}, 1)
    assert held.asked.wait(timeout=300)
    spool.points({"loss": 0.5}, 2)
    for _ in ("the file", "its folder", "the file, some flushes later"):
        assert synced.acquire(timeout=300)
    entries = [decode(payload) for payload, _ in read(spool.writer.path, KIND).payloads]
    assert [point[3] for entry in entries if isinstance(entry, Points) for point in entry.points()] == [1, 2]
    assert held.steps == [], "the request was under way all the time"
    held.may.set()
    assert spool.close(patience_s=300) is None
    assert held.steps == [1, 2]
