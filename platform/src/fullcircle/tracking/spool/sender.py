"""Sends a spool folder to the tracker in order and saves how far it came; of an open run in a thread that never blocks
the training, and never raises into it. Knows no MLflow: `spool.backend.Backend` is the port."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fullcircle.core.errors import DataUnavailable, FullcircleError, UsageError
from fullcircle.core.framed_log.frames import first_frame, read
from fullcircle.core.framed_log.layout import End
from fullcircle.tracking.spool import artifacts, rejected
from fullcircle.tracking.spool.backend import Backend
from fullcircle.tracking.spool.rejected import REJECTED_TAG, RejectionRecord
from fullcircle.tracking.spool.spool_dir import SpoolDir
from fullcircle.tracking.spool.spool_file import (
    BATCH,
    KIND,
    Artifact,
    Entry,
    Inputs,
    Params,
    Point,
    Points,
    Status,
    Tags,
    decode,
)

LOOK_EVERY_S = 0.2
"""The file is looked at this often when there was nothing to send."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""After a failure it is tried again, each time after twice as long."""
SHARE = 0.003
"""Of one core: what the sender takes while a training runs. Threads of one Python process share one interpreter."""
LONGEST_REST_S = 5.0
PATIENCE_S = 3.0
"""`drain` gives up when nothing could be sent for so long."""


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


class Sender:
    """Sends a folder that its process holds, from `start` to `close`.

    Args:
        open_door: connects to the tracker; called in the thread, again after it failed.
    """

    def __init__(self, folder: SpoolDir, open_backend: Callable[[], Backend]) -> None:
        self._folder = folder
        self._open_backend = open_backend
        self._uploader: Uploader | None = None
        self._changed = threading.Condition()
        self._ended = self._hurried = False
        self._rounds = 0
        self._asked = 0
        self._sealed = False
        self._failing_since: float | None = None
        self._error: Exception | None = None
        self._wait_s = FIRST_WAIT_S
        self._thread = threading.Thread(target=self._run, name="spool-send", daemon=True)

    @property
    def error(self) -> Exception | None:
        """What stands in the way at this moment; None when nothing is known to."""
        return self._error

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def drain(self, patience_s: float = PATIENCE_S, *, sealed: bool = False) -> bool:
        """Send at full speed, and wait until all that is in the folder by now was sent.

        Args:
            patience_s: give up when sending has failed for so long; of a run that the tracker does not know yet, when
                it failed once. A request that is under way is waited for.
            sealed: nobody writes to the folder any more.

        Returns:
            Whether all was sent; if not, `error` says why.
        """
        with self._changed:
            self._hurried, self._sealed = True, self._sealed or sealed
            asked = self._asked = self._rounds + 1  # a round that begins from now on
            self._failing_since = None
            self._changed.notify_all()
            try:
                while not self._ended and self._rounds < asked:
                    if self._hopeless(patience_s):
                        return False
                    self._changed.wait(0.05)
            finally:
                self._hurried = False
            return self._rounds >= asked and self._error is None

    def close(self) -> None:
        """End the thread after the request that is under way, for which it waits a little."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)

    def _hopeless(self, patience_s: float) -> bool:
        if self._failing_since is None:
            return False
        # What the tracker refuses, it refuses again. And one that was away all along is no reason to wait at the end of
        # each of the many short runs of a search.
        if isinstance(self._error, UsageError) or self._folder.metadata().run_id is None:
            return True
        return time.monotonic() - self._failing_since >= patience_s

    def _run(self) -> None:
        while not self._ended:
            began, at = time.thread_time(), time.monotonic()
            with self._changed:
                before, sealed = self._asked, self._sealed
            try:
                sent = self._step(sealed)
            except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on and `status` shows it
                self._failed(error)
                continue
            self._went_well()
            with self._changed:
                if not sent:
                    self._rounds = max(self._rounds, before)
                    self._changed.notify_all()
                    self._changed.wait_for(self._is_asked, LOOK_EVERY_S)
                elif not self._hurried:
                    rest_s = (time.thread_time() - began) / SHARE - (time.monotonic() - at)
                    self._changed.wait_for(self._is_asked, min(max(rest_s, 0.0), LONGEST_REST_S))

    def _step(self, sealed: bool) -> bool:
        if self._uploader is None:
            self._uploader = Uploader(self._folder, self._open_backend())
        self._uploader.sealed = sealed
        return self._uploader.step()

    def _is_asked(self) -> bool:
        return self._ended or self._asked > self._rounds

    def _failed(self, error: Exception) -> None:
        what = error.what if isinstance(error, FullcircleError) else f"{type(error).__name__}: {error}"
        self._folder.record_error(what)
        with self._changed:
            self._error = error
            self._failing_since = self._failing_since or time.monotonic()
            self._changed.notify_all()
            hurried = self._hurried
            wait_s = FIRST_WAIT_S if hurried else self._wait_s
            self._changed.wait_for(lambda: self._ended or self._hurried != hurried, wait_s)
            self._wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _went_well(self) -> None:
        if self._error is not None:
            self._folder.record_error("")
        with self._changed:
            self._error, self._failing_since, self._wait_s = None, None, FIRST_WAIT_S
