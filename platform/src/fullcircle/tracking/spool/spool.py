"""The spool of an open run: entries go to its file, a thread uploads them to MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from fullcircle.core.errors import FullcircleError
from fullcircle.core.settings import Settings
from fullcircle.tracking.spool import artifacts
from fullcircle.tracking.spool.backend import Backend
from fullcircle.tracking.spool.backlog import Backlog
from fullcircle.tracking.spool.sender import PATIENCE_S, Sender
from fullcircle.tracking.spool.spool_dir import MAIN, SpoolDir, SpoolMetadata, create_spool_dir
from fullcircle.tracking.spool.spool_file import Entry, SpoolWriter


class Spool:
    """An open spool of one run. Writing raises HomeUnwritable and nothing else; the tracker is never waited for.

    Args:
        name: of its folder.
        about: which run it is, or how it is to be begun.
        open_door: connects to the tracker; called in the sender's thread.
    """

    def __init__(
        self, settings: Settings, name: str, about: SpoolMetadata, open_backend: Callable[[], Backend]
    ) -> None:
        self._held = contextlib.ExitStack()
        self.folder: SpoolDir = self._held.enter_context(create_spool_dir(settings, name, about))
        try:
            self.writer = SpoolWriter(self.folder.path / f"{MAIN}.spool")
        except BaseException:
            self._held.close()
            raise
        self.points, self.packed = self.writer.points, self.writer.packed
        self._sender = Sender(self.folder, open_backend)
        self._closed = False

    def start(self) -> None:
        """Begin to send."""
        self._sender.start()

    def flush(self) -> None:
        """All that was logged is in the file when this returns: a kill -9 does not lose it."""
        self.writer.flush()

    def entry(self, entry: Entry) -> None:
        """Append an entry behind all that was logged; it is in the file when this returns."""
        self.writer.entry(entry)

    def text(self, text: str, artifact_path: str) -> None:
        """Keep a text as artifact at this path."""
        self.entry(artifacts.write_text(self.folder.path, text, artifact_path))

    def file(self, path: Path, folder: str) -> None:
        """Keep a copy of the file as artifact in this folder. Raises FileNotFoundError."""
        self.entry(artifacts.copy_file(self.folder.path, path, folder))

    def drain(self, patience_s: float = PATIENCE_S) -> bool:
        """Wait until all that was logged was sent; False when nothing could be sent for `patience_s`."""
        self.writer.flush()
        return self._sender.drain(patience_s)

    def close(self, patience_s: float = PATIENCE_S) -> Backlog | None:
        """Send all, give up after `patience_s` without success, and let go of the folder.

        Returns:
            None when the tracker has all of it and the folder was removed; else what is left for `sync`.
        """
        if self._closed:
            return None
        try:
            self.writer.close()
            if self._sender.drain(patience_s, sealed=True) and not self.folder.damaged():
                self._sender.close()
                self.folder.remove()
                return None
        finally:
            self.let_go()
        return self.folder.backlog()

    def let_go(self) -> None:
        """Stop sending and let go of the folder as it is. Nothing after `close`."""
        self._closed = True
        try:
            self.writer.close()
        finally:
            self._sender.close()
            self._held.close()

    @property
    def error(self) -> FullcircleError | None:
        """What stands between the spool and the tracker at this moment."""
        error = self._sender.error
        return error if isinstance(error, FullcircleError) or error is None else FullcircleError(str(error))
