"""Detects whether a rank makes progress: its event log grows by a line for each chunk of steps."""

from __future__ import annotations

from pathlib import Path

FIRST_STEP_S = 600.0
"""Patience until the first step of a process: imports, compilation, a checkpoint that is read."""

STEPS = b'"kind": "steps"'


class RankProgress:
    """Follows one rank's event log from now on. Only steps count: a line that says what was resumed is none."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / f"rank-{rank}.jsonl"
        self._read = self._size()

    def grew(self) -> bool:
        """Whether a step was written since the last look."""
        size = self._size()
        if size <= self._read:
            return False
        with self._path.open("rb") as event_log:
            event_log.seek(self._read)
            fresh = event_log.read(size - self._read)
        whole = fresh.rfind(b"\n") + 1  # the rest is being written
        self._read += whole
        return STEPS in fresh[:whole]

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
