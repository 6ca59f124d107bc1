"""Leases with fencing tokens: one holder of a thing at a time, on however many machines, and no clock is trusted.

A holder renews its lease by counting it up. Whoever waits takes it over when the count stood still for `TTL_S` by the
waiter's own monotonic clock: what the machines' clocks say, and how they are set, does not matter. A holder that died
on this machine is taken over at once. Each holder gets a greater token than the one before; what a holder writes is
written in a transaction that checks its token first (`Leases.check`), so that one that was given up, and comes back,
changes nothing.
Method: Kleppmann 2016, "How to do distributed locking".
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import RowMapping, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fullcircle.core.errors import FullcircleError, LeaseLost, LeaseTaken
from fullcircle.core.system.processes import machine_mark, started_ticks
from fullcircle.store.database import Database
from fullcircle.store.schema import leases

TTL_S = 60.0
"""How long a holder may not renew before it is given up: longer than a busy machine lets a thread wait."""
BEATS = 6
"""How often a holder renews within that time."""
SHORTEST_S, LONGEST_S = 0.02, 1.0
"""How long to wait before it is asked again whether a lease is free: at first, and later on."""
IDLE_S = 60
"""PostgreSQL ends a fenced transaction that does nothing for so long: a stopped process must not hold up the others."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease.

    Attributes:
        doing: what for, for the message to whoever waits.
        machine, started: by which it is told whether the process lives; see `core.system.processes`.
    """

    doing: str
    host: str
    pid: int
    machine: str
    started: int

    @classmethod
    def this_process(cls, doing: str) -> Holder:
        """Us."""
        pid = os.getpid()
        return cls(
            doing=doing, host=socket.gethostname(), pid=pid, machine=machine_mark(), started=started_ticks(pid) or 0
        )

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone; of a process of another machine that is never known."""
        here = self.machine != "" and self.machine == machine_mark()
        return here and started_ticks(self.pid) != self.started


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease that we hold, or held: of what, and the token, greater than that of every holder before."""

    resource: str
    token: int


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A lease that another one holds. `beat` counts its renewals."""

    resource: str
    token: int
    beat: int
    since: datetime
    holder: Holder

    def __str__(self) -> str:
        who = f"process {self.holder.pid} on {self.holder.host}"
        return f"{self.holder.doing} is under way since {self.since:%Y-%m-%d %H:%M:%S} UTC ({who})"


class Leases:
    """The leases in one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def take(self, resource: str, holder: Holder, *, over: Taken | None = None) -> Lease | Taken:
        """Take the lease if it is free, or its holder is known to be dead; else who holds it.

        Args:
            over: a holder that is given up: the lease is taken from it if it has not renewed it since.
        """
        values = {"held": True, "beat": 0, "since": datetime.now(UTC), "holder": dataclasses.asdict(holder)}
        with self._db.session() as session:
            row = _row(session, resource)
            if row is None:
                try:
                    with session.begin_nested():
                        session.execute(insert(leases), {"resource": resource, "token": 1, **values})
                    return Lease(resource=resource, token=1)
                except IntegrityError:  # another process was faster
                    row = _row(session, resource)
                    if row is None:
                        raise
            held = _taken(row)
            given_up = over is not None and (over.token, over.beat) == (held.token, held.beat)
            if row["held"] and not given_up and not held.holder.is_dead:
                return held
            lease = Lease(resource=resource, token=held.token + 1)
            where = leases.c.resource == resource
            session.execute(update(leases).where(where).values(token=lease.token, **values))
            return lease

    def taken(self, resource: str) -> Taken | None:
        """Who holds it, None when nobody does."""
        with self._db.session() as session:
            row = _row(session, resource)
            return _taken(row) if row is not None and row["held"] else None

    def renew(self, lease: Lease) -> bool:
        """Say that we are still there. False: the lease is another one's by now."""
        return self._update(lease, beat=leases.c.beat + 1)

    def give_back(self, lease: Lease) -> bool:
        """Let the next one have it. False: it was another one's by then, and stays so."""
        return self._update(lease, held=False)

    def check(self, *held: Lease) -> None:
        """Raise LeaseLost unless these are still ours. Within a `session`, nobody takes them before it is committed."""
        with self._db.session() as session:
            for lease in held:
                row = _row(session, lease.resource, share=True)
                if row is None or not row["held"] or row["token"] != lease.token:
                    raise _lost(lease, row)

    def _update(self, lease: Lease, **values: object) -> bool:
        same = (leases.c.resource == lease.resource, leases.c.token == lease.token, leases.c.held.is_(True))
        with self._db.session() as session:
            changed = session.execute(update(leases).where(*same).values(**values).returning(leases.c.token))
            return changed.first() is not None


@contextlib.contextmanager
def held(
    db: Database,
    resource: str,
    doing: str,
    *,
    wait: bool = True,
    waits: Callable[[str], None] = lambda who: None,
    ttl_s: float = TTL_S,
) -> Iterator[Lease]:
    """Hold the lease of `resource` while the block runs, renewed by a thread.

    Args:
        wait: for another holder to end, or to be given up; else LeaseTaken.
        waits: is told once who is waited for.

    Raises:
        LeaseTaken: another one holds it, and we do not wait.
    """
    found = Leases(db)
    lease = _acquired(found, resource, doing, wait, waits, ttl_s)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(found, lease, ended, ttl_s / BEATS), daemon=True, name="lease")
    beating.start()
    try:
        yield lease
    finally:
        ended.set()
        beating.join()
        with contextlib.suppress(FullcircleError):  # a database that is away: the lease runs out by itself
            found.give_back(lease)


def _acquired(
    found: Leases, resource: str, doing: str, wait: bool, waits: Callable[[str], None], ttl_s: float
) -> Lease:
    holder, pause_s, told = Holder.this_process(doing), SHORTEST_S, False
    seen: Taken | None = None
    since = 0.0
    while True:
        # Given up is one that we saw ourselves stand still for the whole time.
        over = seen if seen is not None and time.monotonic() - since >= ttl_s else None
        got = found.take(resource, holder, over=over)
        if isinstance(got, Lease):
            return got
        if not wait:
            raise LeaseTaken(f"{got}", hint="try again when it has ended")
        if seen is None or (seen.token, seen.beat) != (got.token, got.beat):
            seen, since = got, time.monotonic()
        if pause_s >= LONGEST_S and not told:
            told = True
            waits(f"{got}: waiting for it")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_S)


def _beat(found: Leases, lease: Lease, ended: threading.Event, every_s: float) -> None:
    while not ended.wait(every_s):
        with contextlib.suppress(
            FullcircleError
        ):  # a database that is away for a moment: the next beat may get through
            if not found.renew(lease):
                return  # what is still written in its name is refused


def _row(session: Session, resource: str, *, share: bool = False) -> RowMapping | None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"))
    asked = select(leases).where(leases.c.resource == resource).with_for_update(read=share)
    return session.execute(asked).mappings().first()


def _taken(row: RowMapping) -> Taken:
    names = ("resource", "token", "beat", "since")
    known = {name: row["holder"][name] for name in Holder.__dataclass_fields__}
    return Taken(holder=Holder(**known), **{name: row[name] for name in names})


def _lost(lease: Lease, row: RowMapping | None) -> LeaseLost:
    now = f"{_taken(row)}" if row is not None and row["held"] else "nobody holds it now"
    return LeaseLost(
        f"the lease {lease.resource} (token {lease.token}) was given up, as it was not renewed in time, and nothing "
        f"more is written in its name: {now}",
        hint="another process may do its work by now; 'fullcircle status' says what came of it",
    )
