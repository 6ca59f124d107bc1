"""Upload thread of an open run: it never blocks the training, and never raises into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.tracking.spool.spool_dir import SpoolDir
from fullcircle.tracking.spool.uploader import Backend, Uploader

LOOK_EVERY_S = 0.2
"""The file is looked at this often when there was nothing to send."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""After a failure it is tried again, each time after twice as long."""
SHARE = 0.003
"""Of one core: what the sender takes while a training runs. Threads of one Python process share one interpreter."""
LONGEST_REST_S = 5.0
PATIENCE_S = 3.0
"""`drain` gives up when nothing could be sent for so long."""


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
