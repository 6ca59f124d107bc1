"""What each process of a job takes of its machine, from the journals of all of them, while they train."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fullcircle.training.journal import parsed

LOOK_EVERY_S = 1.0
Tell = Callable[[int, Mapping[str, float], float], None]
"""Takes a rank, its figures, and when they were taken, in seconds since the epoch."""


@contextlib.contextmanager
def told(folder: Path, tell: Tell) -> Iterator[None]:
    """Tell, from a thread, what is in the journals of a job's folder and what is added while the block runs.

    What earlier launches wrote is told again: whoever hears knows what it has. An error of `tell` ends the telling,
    never the training.
    """
    ended, at = threading.Event(), dict[Path, int]()

    def follow() -> None:
        with contextlib.suppress(Exception):
            while not ended.wait(LOOK_EVERY_S):
                _read(folder, at, tell)
            _read(folder, at, tell)

    thread = threading.Thread(target=follow, name="ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _read(folder: Path, at: dict[Path, int], tell: Tell) -> None:
    for path in sorted(folder.glob("rank-*.jsonl")):
        with path.open("rb") as file:
            file.seek(at.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):  # being written
                    break
                at[path] = at.get(path, 0) + len(line)
                if b'"load"' in line[:20] and (entry := parsed(line)):
                    tell(int(path.stem.removeprefix("rank-")), entry["values"], entry["at"])
