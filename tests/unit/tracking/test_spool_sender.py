"""The thread that sends gives up in time: at once for a run that the tracker never knew, else after some patience."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fullcircle.core.errors import TrackerAway
from fullcircle.core.settings import Settings
from fullcircle.tracking.spool.sender import Sender
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolMetadata, create_spool_dir
from fullcircle.tracking.spool.uploader import Backend

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
