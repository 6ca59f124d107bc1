"""The ledger and studies on a real PostgreSQL of the test's own, where the programs for one are installed."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.util import greenlet_spawn

from fullcircle.core.errors import FullcircleError
from fullcircle.core.ledger import Aliases
from fullcircle.core.models import Release
from fullcircle.core.processes import free_port
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.ledger import Ledger, faults
from fullcircle.store.releases import Releases

pytestmark = pytest.mark.skipif(
    shutil.which("initdb") is None or shutil.which("pg_ctl") is None, reason="no PostgreSQL is installed"
)
T = TypeVar("T")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An empty server on loopback. asyncpg, which Prefect brings, is the driver that is there."""
    pytest.importorskip("asyncpg")
    folder, port = Path(tempfile.mkdtemp(prefix="pg-")), free_port("127.0.0.1")
    as_nobody: dict[str, object] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def call(*command: str) -> None:
        said = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "timeout": 120}
        subprocess.run(command, check=True, **said, **as_nobody)

    data = str(folder / "data")
    try:
        call("initdb", "-D", data, "-U", "ledger", "-A", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        call("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql+asyncpg://ledger@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home"), "FULLCIRCLE_DATABASE_URL": url})


def called(act: Callable[[], T]) -> T:
    """An asyncio driver takes blocking calls from within a greenlet alone."""
    return asyncio.run(greenlet_spawn(act))


def change(version: str) -> Release:
    return Release(project="p", version=version, previous=None, at=datetime.now(UTC), reason="r", decided_by="d")


def test_two_processes_do_not_fork_the_chain_on_postgres(settings: Settings) -> None:
    program = (
        "import asyncio, sys; from datetime import datetime, UTC; from sqlalchemy.util import greenlet_spawn;"
        "from fullcircle.core.ledger import Aliases; from fullcircle.core.models import Release;"
        "from fullcircle.core.settings import Settings; from fullcircle.store.database import Database;"
        "from fullcircle.store.ledger import Ledger;"
        "env = {'FULLCIRCLE_HOME': sys.argv[1], 'FULLCIRCLE_DATABASE_URL': sys.argv[2]};"
        "work = lambda: [Ledger(db).append(Release(project='q', version=str(n), previous=None, at=datetime.now(UTC),"
        " reason='', decided_by=sys.argv[3]), aliases=Aliases()) for db in [Database(Settings.from_env(env))]"
        " for n in range(15)];"
        "asyncio.run(greenlet_spawn(work))"
    )
    command = [sys.executable, "-c", program, str(settings.home), settings.database_url]
    started = [subprocess.Popen([*command, who], stderr=subprocess.PIPE) for who in ("a", "b")]
    assert [each.communicate()[1].decode() for each in started] == ["", ""]
    entries = called(lambda: Ledger(Database(settings)).entries("q"))
    assert faults(entries) == ()
    assert [each.seq for each in entries] == list(range(1, 31))


@pytest.mark.parametrize("statement", ["UPDATE ledger SET why = 'x'", "DELETE FROM ledger"])
def test_postgres_itself_lets_no_entry_be_changed(settings: Settings, statement: str) -> None:
    def act() -> None:
        database = Database(settings)
        Ledger(database).append(change("1"), aliases=Aliases(champion="1"))
        with database.session() as session:
            session.execute(text(statement))

    with pytest.raises(FullcircleError, match="the ledger is append-only"):
        called(act)


def test_a_release_is_completed_once_on_postgres(settings: Settings) -> None:
    def act() -> tuple[bool, bool]:
        releases = Releases(Database(settings))
        number = releases.begin(change("1"))
        return releases.complete(number), releases.complete(number)

    assert called(act) == (True, False)


def test_a_study_goes_on_on_postgres_and_two_writers_leave_no_gap_in_its_journal(settings: Settings) -> None:
    from fullcircle.core.search import Uniform
    from fullcircle.store.studies import Studies
    from fullcircle.tuning.study import Study

    def opened() -> Study:
        return Study(settings, "p/torch", {"training.dropout": Uniform(0, 0.5)}, {"training.dropout": 0.1})

    def act() -> None:
        first = opened()
        trial = first.ask()
        first.report(trial.number, 1, 0.6)
        first.close()
        second = opened()
        assert second.again(1).parameters == trial.parameters == {"training.dropout": 0.1}
        assert second.done(1, 0.6).curve == (0.6,)
        second.close()

    called(act)
    program = (
        "import asyncio, sys; from sqlalchemy.util import greenlet_spawn;"
        "from fullcircle.core.settings import Settings; from fullcircle.store.database import Database;"
        "from fullcircle.store.studies import Studies;"
        "env = {'FULLCIRCLE_HOME': sys.argv[1], 'FULLCIRCLE_DATABASE_URL': sys.argv[2]};"
        "work = lambda: [Studies(db).append('s', [f'{sys.argv[3]} {n}', f'{sys.argv[3]} {n}, too'])"
        " for db in [Database(Settings.from_env(env))] for n in range(15)];"
        "asyncio.run(greenlet_spawn(work))"
    )
    command = [sys.executable, "-c", program, str(settings.home), settings.database_url]
    started = [subprocess.Popen([*command, who], stderr=subprocess.PIPE) for who in ("a", "b")]
    assert [each.communicate()[1].decode() for each in started] == ["", ""]
    entries = called(lambda: Studies(Database(settings)).entries("s"))
    assert sorted(entries) == sorted(f"{who} {n}{too}" for who in "ab" for n in range(15) for too in ("", ", too"))
    assert all(
        entries[at + 1] == f"{entries[at]}, too" for at in range(0, 60, 2)
    )  # what was told at once stays together
