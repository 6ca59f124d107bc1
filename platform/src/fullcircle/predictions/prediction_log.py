"""The durable prediction log: nothing is answered that is not written down.

    <folder>/wal/<writer>.wal                         what was answered lately (see `wal`)
    <folder>/segments/date=<YYYY-MM-DD>/*.parquet     what was sealed, by the day of the event
    <folder>/labels/*.parquet                         the truth, as it arrived (see `labels`)
    <folder>/damaged/                                 bytes that could not be read back, set aside

Several processes may log into one folder; each has a write-ahead file of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import FormatTooNew, HomeUnwritable, ServiceUnavailable, UsageError
from fullcircle.core.project import Column
from fullcircle.core.row_tensors import identity
from fullcircle.core.system.files import write_whole
from fullcircle.core.tasks.answers import AnswerSpec
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.ids import PredictionIds, microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that were answered together.

    Attributes:
        event_times: when each row's event is, timezone-aware.
        row_ids: each row's own id; "" where the caller gave none: the prediction id then stands in, so that a
            label can still find its row.
        inputs: column name -> (rows,) or (rows, 1), an image (rows, height, width, channels), as in `core.row_tensors`.
        answers: (rows,) or (rows, 1) of one number, else (rows, numbers) in the order of the log's.
    """

    model_version: str
    digest: str
    event_times: Sequence[datetime]
    row_ids: Sequence[str]
    inputs: Mapping[str, NDArray[np.generic]]
    answers: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes of a dead writer's file that could not be read back, and where they were put."""

    source: str
    rows_kept: int
    bytes_lost: int
    kept_in: Path


class PredictionLog:
    """Appends answered rows durably and seals them into Parquet in the background. Safe for threads.

    Guarantees: when `append` returned, its rows survive kill -9 of this process and every reader sees them;
    each row is in the log once for each append; leftovers of dead writers are recovered when a log is opened.
    Against the death of the machine: what was appended more than `sync_s` before (see docs/adr/0040).

    Args:
        folder: made if missing.
        columns: the raw columns that are logged.
        answers: the columns of an answer, of which the numbers are logged: what it says in words follows from them.
        seal_rows, seal_bytes, seal_s: seal when the write-ahead file has so many rows or bytes, or is that old.
        sync_s: how often the write-ahead file is synced to disk; 0: at every append.
        background: seal and sync in a thread of our own; without it, call `seal` yourself.

    Raises:
        HomeUnwritable: when the folder cannot be written.
        UsageError: when a column has a name that the log keeps for itself, or for the answers.
    """

    def __init__(
        self,
        folder: Path,
        columns: Sequence[Column],
        answers: AnswerSpec,
        *,
        seal_rows: int = 100_000,
        seal_bytes: int = 32 << 20,
        seal_s: float = 300.0,
        sync_s: float = 1.0,
        background: bool = True,
    ) -> None:
        own = {*parquet_segments.RESERVED, *answers.names}
        if taken := sorted(own.intersection(column.name for column in columns)):
            raise UsageError(
                f"columns {', '.join(taken)} are names of the prediction log", hint="rename them in project.py"
            )
        self.folder = folder
        self.damaged: tuple[Damage, ...] = ()
        self._columns, self._answers, self._width = tuple(columns), answers, len(answers.numbers)
        self._limits = (seal_rows, seal_bytes, seal_s)
        self._sync_s = sync_s
        self._ids = PredictionIds()
        self._append_lock = threading.Lock()  # held for microseconds
        self._seal_lock = threading.RLock()  # held while Parquet is written
        self._sealing: list[wal.WriteAheadLog] = []
        self._too_new: set[Path] = set()
        self._closed = False
        self._wake, self._stop = threading.Event(), threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise wal.unwritable(folder, error) from error
        self._open()
        self._recover()
        self._thread = threading.Thread(target=self._tend, name="prediction-log", daemon=True) if background else None
        if self._thread:
            self._thread.start()

    def append(self, batch: Batch) -> tuple[str, ...]:
        """Write rows down; their prediction ids, in order, rising.

        Raises:
            HomeUnwritable: the disk is full or gone. Nothing was logged, so do not answer.
            UsageError: when a column is missing or has another number of rows than the rest, a row id is neither text
                nor a whole number, a category is no text, or the answers are of another shape.
            ServiceUnavailable: after `close`.
        """
        rows = len(batch.row_ids)
        row_ids = [row_id if type(row_id) is str else _named(row_id) for row_id in batch.row_ids]
        numbers, categories, images = self._inputs(batch.inputs, rows)
        answers = np.ascontiguousarray(batch.answers, "<f4")
        if answers.size != rows * self._width or len(answers) != rows or len(batch.event_times) != rows:
            raise UsageError(
                f"{rows} row ids, {len(batch.event_times)} times and answers of shape {answers.shape} in one batch, "
                f"where an answer has {self._width} numbers"
            )
        try:
            times = np.fromiter(map(microseconds, batch.event_times), "<i8", rows).tobytes()
        except TypeError as error:
            raise UsageError(f"event times must have a time zone ({error})") from error
        with self._append_lock:
            if self._closed:
                raise ServiceUnavailable(f"the prediction log in {self.folder} is closed")
            ids = self._ids.take(rows)
            record = wal.Record(
                model_version=batch.model_version,
                model_digest=batch.digest,
                logged_at=time.time_ns() // 1000,
                prediction_ids=ids,
                row_ids=[row_id or id_ for row_id, id_ in zip(row_ids, ids, strict=True)],
                event_times=times,
                numbers=numbers,
                categories=categories,
                answers=answers.tobytes(),
                images=images,
            )
            if self._wal.torn:
                torn = self._wal
                self._open()
                self._sealing.append(torn)
            self._wal.append([record])
            if self._sync_s == 0:
                self._wal.sync()
            self._rows += rows
            if self._rows >= self._limits[0] or self._wal.size >= self._limits[1]:
                self._wake.set()
        return tuple(ids)

    def seal(self) -> int:
        """Move what was appended so far into Parquet segments; how many files were written.

        Raises:
            HomeUnwritable: disk full. Nothing is lost: the write-ahead files stay, and the next call tries again.
        """
        with self._seal_lock:
            with self._append_lock:
                if self._rows and not self._closed:
                    full = self._wal
                    self._open()
                    self._sealing.append(full)
            written: list[Path] = []
            while self._sealing:
                written += self._to_parquet(self._sealing[0].path)
                self._sealing.pop(0).discard()
            self._recover()
            for folder in {path.parent for path in written}:
                parquet_segments.merge(folder, unique_by="prediction_id")
            return len(written)

    def close(self) -> None:
        """Seal and let go. Safe to call twice. What cannot be sealed stays in its file for the next log to recover."""
        self._stop.set()
        self._wake.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
        with self._seal_lock:
            if self._closed:
                return
            try:
                self.seal()
            except HomeUnwritable as error:
                logger.warning("%s; the rows stay in %s", error, self.folder / "wal")
            with self._append_lock:
                self._closed = True
                if self._rows:
                    self._wal.close()
                else:
                    self._wal.discard()
            for left in self._sealing:
                left.close()

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        wal.require_there(self.folder)
        self._wal = wal.WriteAheadLog(self.folder / "wal", self._columns, self._answers)
        self._rows, self._opened = 0, time.monotonic()

    def _inputs(
        self, inputs: Mapping[str, NDArray[np.generic]], rows: int
    ) -> tuple[bytes, list[list[str]], list[bytes]]:
        header = self._wal.header
        sizes = {**dict.fromkeys((*header.numbers, *header.categories), 1), **dict(header.images)}
        try:
            given = {name: inputs[name].reshape(rows, size) for name, size in sizes.items()}
        except KeyError as missing:
            raise UsageError(f"column {missing} is missing from the batch") from None
        except ValueError as error:
            shapes = {name: inputs[name].shape for name, size in sizes.items() if inputs[name].size != rows * size}
            raise UsageError(f"{rows} row ids, but inputs of shape {shapes}") from error
        numbers = b"".join(given[name].astype("<f4", copy=False).tobytes() for name in header.numbers)
        words = [_words(name, given[name].reshape(rows)) for name in header.categories]
        return numbers, words, [given[name].astype("<f4", copy=False).tobytes() for name, _ in header.images]

    def _to_parquet(self, path: Path) -> list[Path]:
        """Seal one write-ahead file; the file itself stays. Sealing it twice writes the same files."""
        found = wal.read(path)
        if found.header is None or not found.records:
            return []
        try:
            return parquet_segments.write(
                parquet_segments.table(found.header, found.records), self.folder / "segments", path.stem
            )
        except OSError as error:
            raise wal.unwritable(self.folder, error) from error

    def _recover(self) -> None:
        """Seal the files of dead writers, and set aside what of them cannot be read."""
        for path in sorted((self.folder / "wal").glob(f"*{wal.SUFFIX}")):
            with wal.try_lock(path) as ours:
                if ours and self._readable(path):
                    self._set_aside_damage(path)
                    self._to_parquet(path)
                    path.unlink()
        for path in (self.folder / "wal").glob(".new-*"):  # died before it was a log
            with wal.try_lock(path) as ours:
                if ours:
                    path.unlink()

    def _readable(self, path: Path) -> bool:
        """Whether it is not a newer version's, which will read it; said once."""
        try:
            wal.read(path)
        except FormatTooNew as error:
            if path not in self._too_new:
                logger.warning("%s", error)
            self._too_new.add(path)
            return False
        return True

    def _set_aside_damage(self, path: Path) -> None:
        found, size = wal.read(path), path.stat().st_size
        rows = sum(len(record.prediction_ids) for record in found.records)
        for start, end in [*found.gaps, *([(found.offset, size)] if found.offset < size else [])]:
            target = self.folder / "damaged" / f"{path.stem}-{start}.bin"
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with path.open("rb") as source:
                    source.seek(start)
                    write_whole(target, source.read(end - start), durable=True)
            except OSError as error:
                raise wal.unwritable(self.folder, error) from error
            self.damaged += (Damage(source=path.name, rows_kept=rows, bytes_lost=end - start, kept_in=target),)
            logger.warning(
                "%s: %d rows read back; %d bytes at %d are damaged and set aside in %s",
                path,
                rows,
                end - start,
                start,
                target,
            )

    def _tend(self) -> None:
        complained = ""
        while not self._stop.is_set():
            self._wake.wait(self._sync_s or 1.0)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                with self._seal_lock:
                    if self._due():
                        self.seal()
                    elif self._sync_s and self._rows:
                        self._wal.sync()
                complained = ""
            except Exception as error:  # noqa: BLE001  # whatever it was, the next second may still be synced
                if str(error) != complained:  # once, not every second
                    logger.warning("prediction log in %s: %s; will try again", self.folder, error)
                complained = str(error)

    def _due(self) -> bool:
        rows, size, age_s = self._limits
        old = self._rows and time.monotonic() - self._opened >= age_s
        return bool(self._sealing or old or self._rows >= rows or self._wal.size >= size)


def _named(row_id: object) -> str:
    # A record whose ids are not text is not read back, and takes the rows of its whole file with it.
    if (named := identity(row_id)) is None:
        raise UsageError(f"a row id must be text or a whole number, got {row_id!r:.60}")
    return named


def _words(name: str, values: NDArray[np.generic]) -> list[str]:
    cells: list[Any] = values.astype(object, copy=False).tolist()
    if all(type(cell) is str for cell in cells):
        return cells
    if odd := [cell for cell in cells if not isinstance(cell, str)]:
        raise UsageError(f"column {name!r} is a category, which is text, got {odd[0]!r:.60}")
    return [str(cell) for cell in cells]  # numpy's own kind of text
