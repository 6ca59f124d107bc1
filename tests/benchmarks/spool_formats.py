"""The spool's file format beside an SQLite database in WAL mode: what each costs, keeps, and how large it is.

    python tests/benchmarks/spool_formats.py [--rounds 15] [--points 60000] [--json]

Both take the spool's real payloads (20 metrics a step, some 5 kB a frame, as the writer makes them five times a second)
and give the same guarantee: a payload that was appended survives kill -9, one that was synced a power cut. SQLite runs
as such a spool would: WAL, `synchronous=OFF` for an append, and `wal_checkpoint(FULL)` with `synchronous=FULL` for a
sync. They take turns round by round. Compared is processor time of the process, but for fsync, which waits.

A child is killed with -9 before the n-th write to either file, for each n, and what a reader finds then is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from fullcircle.core.framed_log.frames import FrameWriter, read
from fullcircle.core.framed_log.layout import FileKind
from fullcircle.tracking.spool.spool_file import Points, encode, packed

METRICS, STEPS_A_FRAME = 20, 24
SYNC_EVERY = 10
"""Frames between two syncs: two seconds of them."""
KIND = FileKind(magic=b"fcsp")


class Candidate(Protocol):
    """A spool file that is being written."""

    def append(self, payload: bytes) -> None:
        """It survives kill -9 when this returns."""
        ...

    def sync(self) -> None:
        """All of it survives a power cut when this returns."""
        ...

    def close(self) -> None:
        """The end."""
        ...


class Framed:
    """The framed log."""

    def __init__(self, path: Path) -> None:
        self._log = FrameWriter(path, KIND)
        self.append, self.sync, self.close = self._log.append, self._log.sync, self._log.close


class Sqlite:
    """A table of payloads."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA wal_autocheckpoint=0")
        self._db.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)")

    def append(self, payload: bytes) -> None:
        """One transaction."""
        self._db.execute("INSERT INTO entries (payload) VALUES (?)", (payload,))

    def sync(self) -> None:
        """The WAL and then the database."""
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_checkpoint(FULL)")
        self._db.execute("PRAGMA synchronous=OFF")

    def close(self) -> None:
        """The last connection takes the WAL away."""
        self._db.close()


def read_framed(path: Path, behind: int) -> tuple[list[bytes], int]:
    """The payloads behind a cursor, and the next one."""
    found = read(path, KIND, behind, limit=40_000)
    return [payload for payload, _ in found.payloads], found.offset


def read_sqlite(path: Path, behind: int) -> tuple[list[bytes], int]:
    """The same of a table, over a connection that is opened and closed as the file is."""
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT number, payload FROM entries WHERE number > ? ORDER BY number LIMIT 8", (behind,))
        found = rows.fetchall()
    finally:
        db.close()
    return [payload for _, payload in found], found[-1][0] if found else behind


Reader = Callable[[Path, int], tuple[list[bytes], int]]
CANDIDATES: dict[str, tuple[Callable[[Path], Candidate], Reader]] = {
    "framed": (Framed, read_framed),
    "sqlite": (Sqlite, read_sqlite),
}


def payloads(points: int) -> list[bytes]:
    """So many points as the spool's writer frames them."""
    names = [f"metric_{number:02}" for number in range(METRICS)]
    rows = [
        (*packed({name: step / (at + 1) for at, name in enumerate(names)}), 1_700_000_000_000 + step, step)
        for step in range(points // METRICS)
    ]
    return [encode(Points.of(rows[first : first + STEPS_A_FRAME])) for first in range(0, len(rows), STEPS_A_FRAME)]


def everything(path: Path, reader: Reader) -> list[bytes]:
    """All payloads of a file."""
    found: list[bytes] = []
    behind = 0
    while True:
        part, behind = reader(path, behind)
        if not part:
            return found
        found += part


def written(folder: Path, name: str, frames: Sequence[bytes]) -> dict[str, float]:
    """One round: write, sync every so often, and read beside it as the uploader does."""
    make, reader = CANDIDATES[name]
    path = folder / f"{name}.spool"
    spool = make(path)
    append, sync, taken = 0.0, [], 0.0
    behind, seen = 0, 0
    for number, payload in enumerate(frames, start=1):
        began = time.process_time()
        spool.append(payload)
        append += time.process_time() - began
        if number % SYNC_EVERY == 0:
            began_s = time.perf_counter()
            spool.sync()
            sync.append(time.perf_counter() - began_s)
            began = time.process_time()
            part, behind = reader(path, behind)  # while the writer holds it
            taken += time.process_time() - began
            seen += len(part)
    assert seen > 0
    size = sum(each.stat().st_size for each in folder.iterdir())
    spool.close()
    closed = sum(each.stat().st_size for each in folder.iterdir())
    assert everything(path, reader) == list(frames)
    for each in folder.iterdir():
        each.unlink()
    return {
        "append_us": 1e6 * append / len(frames),
        "sync_ms": 1e3 * statistics.median(sync),
        "read_us": 1e6 * taken / max(1, seen),
        "bytes_open": float(size),
        "bytes_closed": float(closed),
    }


def killed(folder: Path, name: str, frames: Sequence[bytes]) -> dict[str, float]:
    """Kill -9 behind each append in turn: what of it is lost, and how long a reader takes to find it."""
    make, reader = CANDIDATES[name]
    lost, took = 0, 0.0
    for number in range(1, len(frames) + 1):
        path = folder / f"{name}.spool"
        child = os.fork()
        if not child:
            spool = make(path)
            for payload in frames[:number]:
                spool.append(payload)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        began = time.process_time()
        found = everything(path, reader)
        took += time.process_time() - began
        lost += found != list(frames[:number])
        for each in folder.iterdir():
            each.unlink()
    return {"kills": float(len(frames)), "kills_that_lost": float(lost), "recovery_us": 1e6 * took / len(frames)}


def damaged(folder: Path, name: str, frames: Sequence[bytes]) -> dict[str, float]:
    """Flip one bit in the middle of what lies on the disk: what a reader still finds, and what it believes."""
    make, reader = CANDIDATES[name]
    path = folder / f"{name}.spool"
    spool = make(path)
    for payload in frames:
        spool.append(payload)
    spool.sync()
    spool.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        found = everything(path, reader)
        changed = sum(payload not in frames for payload in found)
        kept = len(found) - changed
    except sqlite3.DatabaseError:
        kept, changed = 0, 0
    for each in folder.iterdir():
        each.unlink()
    return {"kept": float(kept), "believed_though_changed": float(changed), "of": float(len(frames))}


def two_processes(folder: Path, name: str, frames: Sequence[bytes]) -> float:
    """Payloads that a second process does not find while the first one holds the file open."""
    make, reader = CANDIDATES[name]
    path = folder / f"{name}.spool"
    spool = make(path)
    for payload in frames:
        spool.append(payload)
    child = os.fork()
    if not child:
        os._exit(min(255, len(frames) - len(everything(path, reader))))
    missed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    spool.close()
    for each in folder.iterdir():
        each.unlink()
    return float(missed)


def measure(rounds: int, points: int) -> dict[str, dict[str, float]]:
    """All figures of both; medians of the rounds, in which they take turns."""
    frames = payloads(points)
    took: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        for number in range(rounds):
            for each in sorted(CANDIDATES, reverse=bool(number % 2)):
                took[each].append(written(folder, each, frames))
        for each, rows in took.items():
            found[each] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            found[each]["points_per_second"] = 1e6 * METRICS * STEPS_A_FRAME / found[each]["append_us"]
            found[each] |= killed(folder, each, frames[:40])
            found[each] |= damaged(folder, each, frames[:120])
            found[each]["missed_by_another_process"] = two_processes(folder, each, frames[:40])
    return found


def _text(found: dict[str, dict[str, float]]) -> Iterator[str]:
    yield f"{'':28}" + "".join(f"{name:>14}" for name in found)
    for key in next(iter(found.values())):
        yield f"{key:28}" + "".join(f"{values[key]:14,.1f}" for values in found.values())


def main() -> int:
    """Print it; 1 when the framed log loses what it promises to keep, or SQLite costs less."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found: dict[str, Any] = measure(asked.rounds, asked.points)
    print(json.dumps(found, indent=2) if asked.json else "\n".join(_text(found)))
    ours, other = found["framed"], found["sqlite"]
    kept = not ours["kills_that_lost"] and not ours["missed_by_another_process"] and not ours["believed_though_changed"]
    return 0 if kept and ours["append_us"] < other["append_us"] else 1


if __name__ == "__main__":
    sys.exit(main())
