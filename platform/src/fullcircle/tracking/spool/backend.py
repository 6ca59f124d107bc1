"""The port through which the spool reaches a tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fullcircle.tracking.spool.spool_dir import NewRun
from fullcircle.tracking.spool.spool_file import Artifact, Inputs, Params, Point, Status, Tags


class Backend(Protocol):
    """The tracker as the spool needs it. Every method is safe to repeat: what is there already is not doubled.

    All raise TrackerAway when the tracker does not answer, and another FullcircleError when it refuses.
    """

    def create_run(self, begin: NewRun, key: str) -> str:
        """The id of the run that was begun for this spool, found again or made now."""
        ...

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log at most 1,000 points, each with the time and step that it has."""
        ...

    def log(self, run_id: str, entry: Params | Tags | Inputs) -> None:
        """Log parameters, tags or a dataset."""
        ...

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        """The tags that the run has."""
        ...

    def upload(self, run_id: str, path: Path, artifact: Artifact) -> None:
        """Upload a file into its folder of the run, and look that it is there with its size."""
        ...

    def has_artifact(self, run_id: str, artifact: Artifact) -> bool:
        """Whether the run has this artifact with this size."""
        ...

    def set_status(self, run_id: str, status: Status) -> None:
        """Set the run's status."""
        ...
