"""Connects to a Prefect API: the configured one, the one that runs already, or one of our own for a while."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.security.access import is_loopback, reached_at, require_safe
from fullcircle.core.settings import DEFAULT_HOME, QUIET, Settings
from fullcircle.core.system.processes import Service, answers, free_port, process_exists
from fullcircle.loop import progress
from fullcircle.orchestration.api_probe import short_outage_errors
from fullcircle.orchestration.prefect_app import MARKER, hold
from fullcircle.orchestration.service_restart import restart_on_exit
from fullcircle.store.home_relocation import relocate, settle

DATABASE = "prefect.db"
PATHS = {"deployment": ("infra_overrides", "pull_steps", "path", "entrypoint")}
"""Table -> columns of Prefect's that may hold a path of the home's."""
SETTLE_S = 1.5  # the server writes the last tasks' states a moment after it took them; stopped earlier, it loses them
OWN_CREDENTIALS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_CLIENT_CUSTOM_HEADERS")
"""Where a user said what Prefect's client sends, ours is not sent."""
FIRST_START_S = 120.0  # a first start migrates Prefect's database: 13 s on an idle machine, far more on a busy one


def prefect_environment(settings: Settings, *, console: str = "CRITICAL") -> dict[str, str]:
    """Environment for a Prefect client, server or worker of this home: nothing is sent out, everything under home.

    Args:
        console: lowest level of Prefect's own lines on the terminal; its UI has all of them in any case.
    """
    home = os.environ.get("PREFECT_HOME") if settings.prefect_url else None  # a user's own profile may hold the key
    env = {
        **QUIET,
        "PREFECT_HOME": home or str(settings.folder("prefect")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        # In memory, the default, a killed server or holder would leak the slot of the retrain limit for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default unpickles what it reads
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console,
        "PREFECT_LOGGING_INTERNAL_LEVEL": console,  # what its threads say of a server that is away, one event each
        "PREFECT_LOGGING_EXTRA_LOGGERS": "fullcircle",  # our log lines show in the flow run
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # ours are also written outside of any flow run
    }
    if settings.prefect_url:
        env["PREFECT_API_URL"] = settings.prefect_url
        # Asked 5 times it takes a minute to say nothing, and flows ask again and again; `reached` waits between stages.
        env["PREFECT_CLIENT_MAX_RETRIES"] = os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "2")
    if settings.token and not any(os.environ.get(name) for name in OWN_CREDENTIALS):
        # Not as PREFECT_API_KEY: its websockets would not send that.
        env["PREFECT_CLIENT_CUSTOM_HEADERS"] = json.dumps({"Authorization": f"Bearer {settings.token}"})
    return env


def prefect_server(settings: Settings, *, port: int | None = None) -> Service:
    """A dedicated local server, not yet started: use it as a context manager. Its UI is at the same port.

    Raises:
        UsageError: `settings.host` is reached from other machines, and there is no token.
        ServiceUnavailable: on entering, when it does not come up, also when another server of this home runs.
    """
    require_safe(settings.access(), "the Prefect server")
    port = free_port(settings.host) if port is None else port
    url = api_url(settings.host, port)
    origin = url.removesuffix("/api")
    home = settings.folder("prefect")
    settle(settings, "prefect", lambda former: _mend(settings, former))
    return Service(
        name="the Prefect server",
        command=[
            *(sys.executable, "-m", "uvicorn", "--factory", "fullcircle.orchestration.prefect_app:create"),
            *("--host", settings.host, "--port", str(port), "--log-level", "warning", "--no-access-log"),
            *("--timeout-graceful-shutdown", "2"),  # a browser's open websocket must not hold up Ctrl-C
        ],
        ready_url=f"{url}/health",
        log=settings.folder("logs") / "prefect.log",
        env={
            **prefect_environment(settings, console="WARNING"),
            **settings.guard_environment(),
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": url,
            "PREFECT_SERVER_API_HOST": settings.host,
            "PREFECT_SERVER_API_PORT": str(port),
            # A browser elsewhere has its own loopback: there the page asks where it came from.
            "PREFECT_SERVER_UI_API_URL": url if is_loopback(settings.host) else "/api",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),  # the default writes into site-packages
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
        },
        timeout_s=FIRST_START_S,
    )


def _mend(settings: Settings, former: Sequence[Path]) -> None:
    """What runs a project by itself names the home that it works in: a copy's would work in the one it is a copy of."""
    database = settings.folder("prefect") / DATABASE
    if not database.exists():
        return
    known = list(former) or _former_homes(database, settings.home)
    try:
        relocate(database, PATHS, known, settings.home)
        # A home at its default place moves with its checkout, in which the worker is to run.
        checkouts = [each.parent for each in known if each.name == settings.home.name == DEFAULT_HOME]
        relocate(database, PATHS, checkouts, settings.home.parent)
    except sqlite3.Error as error:
        raise ServiceUnavailable(
            f"the schedules in {database} still name {', '.join(map(str, known))}, and cannot be changed ({error})",
            hint="try again; nothing was changed",
        ) from error


def _former_homes(database: Path, home: Path) -> list[Path]:
    """The homes that deployments name, in a home that was made before places were recorded."""
    with contextlib.closing(sqlite3.connect(database)) as connection, contextlib.suppress(sqlite3.Error):
        variables = [json.loads(row[0] or "{}") for row in connection.execute("SELECT job_variables FROM deployment")]
        named = {
            Path(str(each["env"]["FULLCIRCLE_HOME"])) for each in variables if "FULLCIRCLE_HOME" in each.get("env", {})
        }
        return sorted(named - {home})
    return []


def api_url(host: str, port: int) -> str:
    """The address at which this machine reaches the API that listens on this host and port."""
    return f"http://{reached_at(host, port)}/api"


def server_url(service: Service) -> str:
    """The API address of a server made by `prefect_server`."""
    return service.ready_url.removesuffix("/health")


@contextlib.contextmanager
def connect(settings: Settings, *, console: str = "CRITICAL") -> Iterator[str]:
    """An API URL that Prefect in this process talks to within the block; a server is started only if needed.

    In this order: `settings.prefect_url`; the server that already runs for this home (of `fullcircle ui`, say); a
    dedicated one on a free loopback port, ended with the block. Flows called within the block report there.

    Our own is started again when somebody kills it.

    Raises:
        ServiceUnavailable: when the configured API does not answer or goes away, or our own does not come up.
    """
    with contextlib.ExitStack() as stack:
        if settings.prefect_url:
            url = _checked(settings.prefect_url)
        else:
            url = running(settings) or stack.enter_context(_own_server(settings))
        stack.enter_context(short_outage_errors(url))
        stack.enter_context(_pointing_at(url, prefect_environment(settings, console=console)))
        yield url


def running(settings: Settings) -> str | None:
    """The API URL of the server that runs for this home, once it answers; None when there is none.

    Raises:
        ServiceUnavailable: when a server holds the home but does not answer.
    """
    home = settings.folder("prefect")
    deadline = time.monotonic() + FIRST_START_S
    while True:
        lock = hold(home)
        if lock is not None:
            lock.close()
            return None
        where = _marker(home)
        # A server whose owner was killed has its SIGTERM already: wait until it is gone, never lean on it.
        orphaned = where is not None and not process_exists(int(str(where["owner"])))
        if where is not None and not orphaned and answers(f"{where['url']}/health"):
            return str(where["url"])
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"a Prefect server of {settings.home} is up but does not answer",
                hint=f"end process {where['pid'] if where else '?'}, or look into {settings.home / 'logs/prefect.log'}",
            )
        time.sleep(0.2)


@contextlib.contextmanager
def _own_server(settings: Settings) -> Iterator[str]:
    # FULLCIRCLE_HOST is for what a user starts to be looked at; this one is for our own flows.
    service = prefect_server(dataclasses.replace(settings, host="127.0.0.1"))
    # Said before it is done: the first start of a home takes long, and nothing else is to be seen meanwhile.
    progress.current().stage("start Prefect", "a server of its own, on loopback")
    try:
        service.__enter__()
    except ServiceUnavailable:
        url = running(settings)  # another process was faster to start one; if not, ours really failed
        if url is None:
            raise
        yield url
        return
    try:
        with restart_on_exit(service):
            yield server_url(service)
            time.sleep(SETTLE_S)
    finally:
        service.stop()


@contextlib.contextmanager
def _pointing_at(url: str, env: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in (*env, "PREFECT_API_URL")}
    # The thread that sends log lines to a server that went away would write on the terminal that it could not.
    loud, logging.raiseExceptions = logging.raiseExceptions, False
    # The environment first: what Prefect reads at its import, and what child processes inherit.
    os.environ.update(env)
    os.environ["PREFECT_API_URL"] = url
    try:
        import prefect.settings

        # The settings too: when Prefect was imported before, it does not look at the environment again.
        known = {key: getattr(prefect.settings, key, None) for key in env if key.startswith("PREFECT_")}
        ours = {setting: env[key] for key, setting in known.items() if setting is not None}
        with prefect.settings.temporary_settings(ours | {prefect.settings.PREFECT_API_URL: url}):
            try:
                yield
            finally:
                _send_what_waits()
    finally:
        logging.raiseExceptions = loud
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _send_what_waits() -> None:
    """States of tasks, events and log lines are sent in the background: send them while there is a server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=10)
    APILogWorker.drain_all(timeout=5)


def _checked(url: str) -> str:
    if not answers(f"{url.rstrip('/')}/health", timeout_s=10.0):
        raise ServiceUnavailable(
            f"the Prefect API {url} does not answer", hint="start it, or unset PREFECT_API_URL to use a local one"
        )
    return url.rstrip("/")


def _marker(home: Path) -> dict[str, object] | None:
    try:
        where = json.loads((home / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return where if isinstance(where, dict) and {"url", "pid", "owner"} <= where.keys() else None
