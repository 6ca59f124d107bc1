"""Leases on SQLite and PostgreSQL: one holder at a time, whatever stops it, and nothing is written by one given up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fullcircle.core.errors import LeaseLost, LeaseTaken
from fullcircle.core.records.health import Keep
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.leases import Holder, Lease, Leases, Taken, held

RESOURCE = "retrain:p"
SHORT_S = 0.6
"""Until a holder is given up in these tests. Nothing asserts on it: who waits, waits until it is over."""

HOLDER = """
import sys
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.leases import Leases, held
from fullcircle.core.records.health import Keep
from datetime import UTC, datetime

db = Database(Settings.from_env({"FULLCIRCLE_HOME": sys.argv[1], "FULLCIRCLE_DATABASE_URL": sys.argv[2]}))
with held(db, "retrain:p", "a retrain of p", ttl_s=float(sys.argv[3])) as lease:
    print(lease.token, flush=True)
    sys.stdin.readline()
    with db.session():
        Leases(db).check(lease)
        Decisions(db).record("p", "w", Keep(reason="by a zombie"), at=datetime.now(UTC), evidence={})
"""

both = pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)


@contextmanager
def holder(settings: Settings, ttl_s: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease, and writes once it is told to."""
    command = [sys.executable, "-c", HOLDER, str(settings.home), settings.database_url, str(ttl_s)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "1"
        yield process
    finally:
        process.kill()
        process.communicate()


def elsewhere(doing: str = "a retrain of p") -> Holder:
    """A holder on another machine: nobody here can tell whether it lives."""
    return replace(Holder.this_process(doing), host="other", machine="another boot", pid=1)


def reasons(db: Database) -> list[str]:
    return [row.decision.reason for row in Decisions(db).all("p")]


@both
def test_one_holds_it_the_others_learn_who_and_the_next_one_gets_a_greater_token(db: Database) -> None:
    leases = Leases(db)
    first = leases.take(RESOURCE, Holder.this_process("a retrain of p"))
    assert first == Lease(resource=RESOURCE, token=1)
    assert leases.renew(first)
    second = leases.take(RESOURCE, elsewhere())
    assert isinstance(second, Taken)
    assert (second.token, second.beat, second.holder.pid) == (1, 1, os.getpid())
    assert f"a retrain of p is under way since {second.since:%Y-%m-%d}" in str(second)
    assert f"(process {os.getpid()} on " in str(second)
    assert leases.give_back(first)
    assert leases.taken(RESOURCE) is None
    assert leases.take(RESOURCE, elsewhere()) == Lease(resource=RESOURCE, token=2)
    for late in (leases.renew(first), leases.give_back(first)):
        assert late is False
    assert leases.taken(RESOURCE) is not None, "and whoever had it before does not give it back for the new one"


@both
def test_who_does_not_wait_is_refused_with_who_holds_it(db: Database) -> None:
    Leases(db).take(RESOURCE, elsewhere())
    with (
        pytest.raises(LeaseTaken, match=r"a retrain of p is under way since .* UTC \(process 1 on other\)") as refused,
        held(db, RESOURCE, "a retrain of p", wait=False),
    ):
        pytest.fail("it is another one's")
    assert refused.value.exit_code == 75


@both
def test_what_a_holder_writes_after_it_was_given_up_is_refused_in_its_own_transaction(db: Database) -> None:
    leases = Leases(db)
    old = leases.take(RESOURCE, elsewhere())
    assert isinstance(old, Lease)
    seen = leases.taken(RESOURCE)
    new = leases.take(RESOURCE, Holder.this_process("a retrain of p"), over=seen)
    assert isinstance(new, Lease)

    def write(lease: Lease, said: str) -> None:
        with db.session():
            Decisions(db).record("p", said, Keep(reason=said), at=datetime.now(UTC), evidence={})
            leases.check(lease)

    with pytest.raises(LeaseLost, match=r"retrain:p \(token 1\) was given up"):
        write(old, "late")
    write(new, "ours")
    assert reasons(db) == ["ours"]


@both
def test_a_holder_that_renewed_is_not_given_up_by_one_who_saw_it_before(db: Database) -> None:
    leases = Leases(db)
    lease = leases.take(RESOURCE, elsewhere())
    assert isinstance(lease, Lease)
    seen = leases.taken(RESOURCE)
    leases.renew(lease)
    assert isinstance(leases.take(RESOURCE, elsewhere(), over=seen), Taken)
    leases.check(lease)


@both
def test_one_that_died_here_is_taken_over_at_once_and_one_that_died_elsewhere_when_it_stood_still(
    settings: Settings, db: Database
) -> None:
    with holder(settings) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with held(db, RESOURCE, "a retrain of p", ttl_s=600) as lease:
            assert lease.token == 2
    Leases(db).take(RESOURCE, elsewhere())
    told: list[str] = []
    with held(db, RESOURCE, "a retrain of p", ttl_s=2.5, waits=told.append) as lease:
        assert lease.token == 4
    assert ["process 1 on other" in each and each.endswith("waiting for it") for each in told] == [True]


@both
def test_one_that_was_stopped_and_comes_back_writes_nothing_any_more(settings: Settings, db: Database) -> None:
    with holder(settings) as process:
        process.send_signal(signal.SIGSTOP)
        with held(db, RESOURCE, "a retrain of p", ttl_s=SHORT_S) as lease:
            assert lease.token == 2
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate("go on\n")
            assert process.returncode == 1
            assert "LeaseLost" in err
            Leases(db).check(lease)
        assert reasons(db) == []


@both
def test_two_homes_that_begin_at_once_take_turns(settings: Settings, tmp_path: Path) -> None:
    """Two processes' worth of Database objects, as two machines have them."""
    inside, order, guard = [0], [], threading.Lock()

    def work(home: str) -> None:
        db = Database(replace(settings, home=tmp_path / home))
        with held(db, RESOURCE, home) as lease:
            with guard:
                inside[0] += 1
                assert inside == [1]
            order.append(lease.token)
            with guard:
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(home,)) for home in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == [1, 2, 3, 4]
