"""Uploads a spool folder in order and saves how far it came. Knows no MLflow: `Backend` is the port."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.framed_log.layout import End
from fullcircle.core.framed_log.reader import first_frame, read
from fullcircle.tracking.spool import artifacts, rejected
from fullcircle.tracking.spool.entries import KIND, Artifact, Entry, Inputs, Params, Point, Points, Status, Tags, decode
from fullcircle.tracking.spool.rejected import REJECTED_TAG, RejectionRecord
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolDir
from fullcircle.tracking.spool.writer import BATCH


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


class Uploader:
    """Sends one folder, a step at a time. Not for two threads at once; whoever sends holds the folder.

    Args:
        sealed: nobody writes to the folder any more: bytes at its end that are no frame are damage, not a frame that
            is being written.
    """

    def __init__(self, folder: SpoolDir, backend: Backend, *, sealed: bool = False) -> None:
        self.sealed = sealed
        self._folder = folder
        self._backend = backend
        self._at: dict[Path, int] = {}
        self._run: str | None = None
        self._rejected: dict[Path, dict[int, RejectionRecord]] = {}

    def step(self) -> bool:
        """Send the next request's worth; False when there is nothing to send now.

        A request that may or may not have arrived is repeated as it was.

        Raises:
            TrackerAway, UsageError and others: as the backend; nothing of this step is counted as sent.
            SpoolTooNew: nothing was changed.
            OSError: the spool itself cannot be read or written.
        """
        run_id = self._run = self._run or self._run_id()
        for file in self._folder.files():
            if (left := self._rejected_at(file, self._cursor(file))) is not None:
                self._pass_over(run_id, file, left)
                return True
            batch, entry, offset = self._next(file)
            if batch:
                self._backend.log_points(run_id, batch)
            elif entry is not None:
                self._send(run_id, entry)
            elif offset == self._cursor(file):
                continue
            self._advance(file, offset)
            if isinstance(entry, Artifact) and not batch:
                with contextlib.suppress(OSError):
                    artifacts.delete(self._folder.path, entry)
            return True
        return False

    def _run_id(self) -> str:
        about = self._folder.metadata()
        if about.run_id is not None:
            return about.run_id
        assert about.begin is not None, "a run that is not begun says how it is"
        for file in self._folder.files():
            read(file, KIND, limit=0)  # SpoolTooNew, before anything is changed
        run_id = self._backend.create_run(about.begin, self._folder.id)
        self._folder.save(msgspec.structs.replace(about, run_id=run_id))
        return run_id

    def _next(self, file: Path) -> tuple[list[Point], Entry | None, int]:
        """The points up to the next other entry, or that entry; and the offset behind them."""
        found = read(file, KIND, self._cursor(file), limit=BATCH * 40, skip=False)
        if found.end is not End.WHOLE and not found.payloads and self.sealed:
            self._folder.set_aside(file, found.offset)
        points: list[Point] = []
        behind = self._cursor(file)
        for payload, offset in found.payloads:
            if points and self._rejected_at(file, behind) is not None:
                break
            entry = decode(payload)
            if not isinstance(entry, Points):
                return (points, None, behind) if points else ([], entry, offset)
            if len(points) + len(entry) > BATCH:
                break
            points += entry.points()
            behind = offset
        return points, None, behind

    def _send(self, run_id: str, entry: Entry) -> None:
        match entry:
            case Params() | Tags() | Inputs():
                self._backend.log(run_id, entry)
            case Artifact():
                self._keep(run_id, entry)
            case Status():
                self._backend.set_status(run_id, entry)
            case Points():
                raise AssertionError("points are sent in batches")

    def _keep(self, run_id: str, artifact: Artifact) -> None:
        try:
            path = artifacts.verify(self._folder.path, artifact)
        except DataUnavailable:
            if not self._backend.has_artifact(run_id, artifact):  # sent before, and the cursor was lost
                raise
        else:
            self._backend.upload(run_id, path, artifact)

    def _rejected_at(self, file: Path, start: int) -> RejectionRecord | None:
        """What was decided of the entry that begins there."""
        if file not in self._rejected:  # once: nobody decides while we hold the folder
            self._rejected[file] = rejected.load(file)
        return self._rejected[file].get(start or first_frame(file, KIND))

    def _pass_over(self, run_id: str, file: Path, left: RejectionRecord) -> None:
        """Go on behind an entry that is left out; first the run says that it lacks it, and before it says its end."""
        present = self._backend.get_tags(run_id).get(REJECTED_TAG, "")
        self._backend.log(run_id, Tags({REJECTED_TAG: rejected.with_what(present, left.what)}))
        self._advance(file, left.until)

    def _cursor(self, file: Path) -> int:
        if file not in self._at:
            self._at[file] = self._folder.cursor(file)
        return self._at[file]

    def _advance(self, file: Path, offset: int) -> None:
        self._folder.advance(file, offset)
        self._at[file] = offset
