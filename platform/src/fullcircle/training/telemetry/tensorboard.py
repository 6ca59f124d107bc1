"""Writes the scalars of a run as TensorBoard event files, without importing torch or TensorFlow."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from fullcircle.core.errors import UsageError


class TensorBoardWriter:
    """Writes scalars into an event file of its own in `folder`; TensorBoard shows all files of a folder as one run.

    Raises:
        UsageError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        # Not EventFileWriter: it imports TensorFlow wherever that is installed, for the sake of remote folders.
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point of each name; they are in the file when this returns."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=points))
        self._records.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def require_tensorboard() -> None:
    """Raises UsageError, naming the extra, when the package is not installed."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed", hint='pip install "fullcircle[tensorboard]"')
