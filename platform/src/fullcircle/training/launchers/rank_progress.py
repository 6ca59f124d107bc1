"""Detects whether a rank makes progress: its event log grows by an entry for each chunk of steps."""

from __future__ import annotations

from pathlib import Path

from fullcircle.training.training_loop.event_log import EventReader, event_log_path

FIRST_STEP_S = 600.0
"""Patience until the first step of a process: imports, compilation, a checkpoint that is read."""


class RankProgress:
    """Follows one rank's event log from now on. Only steps count: an entry that says what was resumed is none."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._events = EventReader(event_log_path(folder, rank), from_now=True)

    def grew(self) -> bool:
        """Whether a step was written since the last look."""
        return any(event["kind"] == "steps" for event in self._events.new())
