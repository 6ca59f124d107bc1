"""The champion ledger: append-only, and each entry holds the hash of the one before, so that no change goes unseen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, func, insert, select
from sqlalchemy.exc import IntegrityError

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.ledger_entries import SINCE_FORMAT, Action, Aliases, Entry, Head, ledger_time
from fullcircle.core.records.releases import Release
from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.schema import ledger

FORMAT = 3
"""Of the entries that are written now."""
_ATTEMPTS = 100
"""How often to try again when another writer was faster; each time, one of them got through."""
_UNREADABLE = (ValueError, TypeError, AssertionError)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with a ledger: at which entry, None for the ledger as a whole, and what."""

    entry: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.entry is None else f"entry {self.entry}: {self.what}"


class Ledger:
    """The ledgers of all projects. Entries are appended, one after the other however many write, and never changed.

    Every method raises FullcircleError when the entries were written by a newer version; nothing is changed then.
    """

    def __init__(self, db: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Args: clock: where the time is read; whatever it says, no entry holds before the one before it."""
        self._db = db
        self._clock = clock

    def append(
        self,
        change: Release,
        *,
        aliases: Aliases,
        verdict: str = "",
        model_digest: str = "",
        data_digest: str = "",
        held: datetime | None = None,
    ) -> Entry:
        """Write down a change as the project's next entry, in one transaction, and return it.

        Args:
            aliases: what the aliases name after it.
            verdict: the gate's outcome for the version.
            held: since when it holds, if that was before now: it is written down late.
        """
        content = {
            "project": change.project,
            "data_until": change.data_until,
            "identity": to_plain(change.identity),
            "action": Action(change.action),
            "version": change.version,
            "previous": change.previous,
            "who": change.decided_by,
            "why": change.reason,
            "verdict": verdict,
            "model_digest": model_digest,
            "data_digest": data_digest,
            "aliases": aliases,
        }
        with self._db.session() as session:
            for _ in range(_ATTEMPTS):
                entry = follow(self._last(change.project), content, clock=self._clock(), held=held)
                values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
                values |= {"action": entry.action.value, "aliases": to_plain(entry.aliases)}
                try:
                    with session.begin_nested():
                        session.execute(insert(ledger), values)
                except IntegrityError:  # another writer has that number; SQLite lets only one write at a time
                    continue
                return entry
        raise FullcircleError(f"the ledger of {change.project} took no entry in {_ATTEMPTS} attempts")

    def entries(self, project: str) -> list[Entry]:
        """The project's ledger, oldest first."""
        with self._db.session() as session:
            asked = select(ledger).where(ledger.c.project == project).order_by(ledger.c.seq)
            try:
                return [_entry(row) for row in session.execute(asked).mappings()]
            except _UNREADABLE:  # the database's own types may be what refuses a row: one by one, to name it
                numbers = session.execute(asked.with_only_columns(ledger.c.seq)).scalars().all()
                return [self._read(project, seq) for seq in numbers]

    def projects(self) -> list[str]:
        """The projects that have entries, sorted."""
        with self._db.session() as session:
            return sorted(session.execute(select(ledger.c.project).distinct()).scalars())

    def _last(self, project: str) -> Entry | None:
        with self._db.session() as session:
            newest = session.execute(select(func.max(ledger.c.seq)).where(ledger.c.project == project)).scalar()
            return None if newest is None else self._read(project, newest)

    def _read(self, project: str, seq: int) -> Entry:
        with self._db.session() as session:
            asked = select(ledger).where(ledger.c.project == project, ledger.c.seq == seq)
            try:
                return _entry(session.execute(asked).mappings().one())
            except _UNREADABLE as error:
                raise FullcircleError(
                    f"entry {seq} of the ledger of {project} was edited: it cannot be read ({error})",
                    hint="bring the database back from a backup",
                ) from error


def follow(last: Entry | None, content: Mapping[str, Any], *, clock: datetime, held: datetime | None = None) -> Entry:
    """The entry with that content after `last`, with its number, times and hashes. Pure.

    Args:
        clock: what the clock says.
        held: since when it holds, if that was earlier.
    """
    data_until = content.get("data_until")
    entry = Entry(
        seq=last.seq + 1 if last else 1,
        at=ledger_time(held or clock, last).astimezone(UTC),
        recorded=clock.astimezone(UTC),
        format=FORMAT,
        previous_hash=last.hash if last else "",
        hash="",
        **{**content, "data_until": data_until.astimezone(UTC) if data_until else None},
    )
    return dataclasses.replace(entry, hash=hash_of(entry))


def hash_of(entry: Entry) -> str:
    """SHA-256, in hex, over canonical JSON (sorted keys, no spaces, UTF-8) of all fields but the hash itself.

    An entry of an older format is hashed without the fields that came later, unless one was filled in
    afterwards: nothing may be added to an entry unseen.
    """
    content = {
        name: value
        for name, value in to_plain(entry).items()
        if name != "hash" and (value is not None or SINCE_FORMAT.get(name, 1) <= entry.format)
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def faults(entries: Sequence[Entry], head: Head | None = None) -> tuple[Fault, ...]:
    """What is wrong with a project's chain: entries that were edited, removed or reordered; () when it holds.

    Args:
        head: the newest entry as it is known from elsewhere. Without it, removed newest entries and a chain that
            was computed anew from an edit on are not seen.
    """
    return (*_links(entries), *_head(entries, head))


def _links(entries: Sequence[Entry]) -> Iterator[Fault]:
    before: Entry | None = None
    for entry in entries:
        expected = before.seq + 1 if before else 1
        if entry.seq != expected:
            missing = f"entry {expected} is" if entry.seq == expected + 1 else f"entries {expected}-{entry.seq - 1} are"
            yield Fault(entry=entry.seq, what=f"{missing} missing before it")
        if hash_of(entry) != entry.hash:
            yield Fault(entry=entry.seq, what=_edited(entry, len(entries)))
        elif entry.seq == expected and entry.previous_hash != (before.hash if before else ""):
            yield Fault(entry=entry.seq, what="it does not follow the entry before it: that one was replaced")
        before = entry


def _edited(entry: Entry, count: int) -> str:
    for seq in range(1, count + 2):
        if hash_of(dataclasses.replace(entry, seq=seq)) == entry.hash:
            return f"it was written as entry {seq}: the entries were reordered"
    return "it was edited: its hash is not that of its content"


def _head(entries: Sequence[Entry], head: Head | None) -> Iterator[Fault]:
    if head is None:
        return
    newest = entries[-1].seq if entries else 0
    if newest < head.seq:
        lost = f"entry {head.seq} is" if newest + 1 == head.seq else f"entries {newest + 1}-{head.seq} are"
        yield Fault(entry=None, what=f"{lost} missing at the end: the registry knows of entry {head.seq}")
    elif all(entry.hash != head.hash for entry in entries if entry.seq == head.seq):
        what = "it is not the entry that the registry knows of: the ledger was written anew"
        yield Fault(entry=head.seq, what=what)


def _entry(row: RowMapping) -> Entry:
    if row["format"] > FORMAT:
        raise FullcircleError(
            f"the ledger of {row['project']} has an entry {row['seq']} of format {row['format']}, this fullcircle "
            f"knows up to {FORMAT}",
            hint="it was written by a newer fullcircle: upgrade this one; nothing was changed",
        )
    return Entry(**{**row, "action": Action(row["action"]), "aliases": Aliases(**row["aliases"])})
