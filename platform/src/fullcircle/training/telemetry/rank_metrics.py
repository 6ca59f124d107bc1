"""Processor and memory use of each rank, followed in the event logs of all ranks while they train."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fullcircle.training.training_loop.event_log import EventReader, read_earlier

LOOK_EVERY_S = 1.0
OnRankMetrics = Callable[[int, Mapping[str, float], float], None]
"""Takes a rank, its figures, and when they were taken, in seconds since the epoch."""


@contextlib.contextmanager
def follow(folder: Path, on_metrics: OnRankMetrics) -> Iterator[None]:
    """Pass on, from a thread, what is in the event logs of a job's folder and what is added while the block runs.

    What earlier launches wrote is passed on once more: the receiver drops what it has. An error of `on_metrics` ends
    the following, never the training.
    """
    ended, readers = threading.Event(), dict[Path, EventReader]()

    def follow() -> None:
        with contextlib.suppress(Exception):
            while not ended.wait(LOOK_EVERY_S):
                _read(folder, readers, on_metrics)
            _read(folder, readers, on_metrics)

    thread = threading.Thread(target=follow, name="ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _read(folder: Path, readers: dict[Path, EventReader], on_metrics: OnRankMetrics) -> None:
    for path in sorted(folder.glob("rank-*.events")):
        entries = [] if path in readers else list(read_earlier(path))
        entries += readers.setdefault(path, EventReader(path)).new()
        for entry in entries:
            if entry["kind"] == "load":
                on_metrics(int(path.stem.removeprefix("rank-")), entry["values"], entry["at"])
