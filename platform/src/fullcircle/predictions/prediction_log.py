"""The durable prediction log: nothing is answered that is not written down.

    <folder>/wal/<writer>.wal                         what was answered lately (see `wal`)
    <folder>/segments/date=<YYYY-MM-DD>/*.parquet     what was sealed, by the day of the event
    <folder>/segments/date=<YYYY-MM-DD>/*.fingerprint what each of these files is like (see `fingerprints`)
    <folder>/labels/*.parquet                         the truth, as it arrived (see `labels`)
    <folder>/damaged/                                 bytes that could not be read back, set aside

Several processes may log into one folder; each has a write-ahead file of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fullcircle.core.errors import FormatTooNew, HomeUnwritable, ServiceUnavailable, UsageError
from fullcircle.core.project import Column
from fullcircle.core.tasks.answers import AnswerSpec
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.batch import Batch, encoded
from fullcircle.predictions.damage import Damage, set_aside
from fullcircle.predictions.fingerprints import segment_file
from fullcircle.predictions.fingerprints.contract import Contract
from fullcircle.predictions.ids import PredictionIds

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


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
        slices: columns by whose groups fingerprints are kept, too.

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
        slices: Sequence[str] = (),
    ) -> None:
        own = {*parquet_segments.RESERVED, *answers.names}
        if taken := sorted(own.intersection(column.name for column in columns)):
            raise UsageError(
                f"columns {', '.join(taken)} are names of the prediction log", hint="rename them in project.py"
            )
        self.folder = folder
        self.damaged: tuple[Damage, ...] = ()
        self._columns, self._answers = tuple(columns), answers
        self._contract = Contract.of(self._columns, answers, tuple(slices))
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
            UsageError: as `batch.encoded`.
            ServiceUnavailable: after `close`.
        """
        rows, given = len(batch.row_ids), encoded(batch, self._wal.header)
        with self._append_lock:
            if self._closed:
                raise ServiceUnavailable(f"the prediction log in {self.folder} is closed")
            ids = self._ids.take(rows)
            record = wal.Record(
                model_version=batch.model_version,
                model_digest=batch.digest,
                logged_at=time.time_ns() // 1000,
                prediction_ids=ids,
                row_ids=[row_id or id_ for row_id, id_ in zip(given.row_ids, ids, strict=True)],
                event_times=given.event_times,
                numbers=given.numbers,
                categories=given.categories,
                answers=given.answers,
                images=given.images,
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
                parquet_segments.merge(folder, unique_by="prediction_id", sealed=self._fingerprint)
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

    def _to_parquet(self, path: Path) -> list[Path]:
        """Seal one write-ahead file; the file itself stays. Sealing it twice writes the same files."""
        found = wal.read(path)
        if found.header is None or not found.records:
            return []
        try:
            return parquet_segments.write(
                parquet_segments.table(found.header, found.records),
                self.folder / "segments",
                path.stem,
                sealed=self._fingerprint,
            )
        except OSError as error:
            raise wal.unwritable(self.folder, error) from error

    def _fingerprint(self, segment: Path, rows: pa.Table) -> None:
        segment_file.sealed(segment, rows, self._contract)

    def _recover(self) -> None:
        """Seal the files of dead writers, and set aside what of them cannot be read."""
        for path in sorted((self.folder / "wal").glob(f"*{wal.SUFFIX}")):
            with wal.try_lock(path) as ours:
                if ours and self._readable(path):
                    self.damaged += set_aside(path, self.folder)
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
