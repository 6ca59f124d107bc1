"""Serves the UIs of MLflow and Prefect on loopback until Ctrl-C; with a worker for what is scheduled if wanted."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.project.loading import project_names
from fullcircle.core.records.releases import CHAMPION
from fullcircle.core.security.access import is_loopback, reached_at, require_safe
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import Service, answers, free_port
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.prefect_server import (
    FIRST_START_S,
    prefect_environment,
    prefect_server,
    running,
    server_url,
)
from fullcircle.orchestration.schedule import POOL
from fullcircle.tracking.connection.client import address, is_server, settled
from fullcircle.tracking.server.browser_preferences import server_folder
from fullcircle.tracking.server.mlflow_app import APP_NAME, require_installed

SUBREAPER = (sys.executable, "-m", "fullcircle.orchestration.subreaper")
LOOK_EVERY_S = 10.0
LOOKS = 3


def mlflow_ui(settings: Settings, port: int) -> Service:
    """MLflow's UI and API over the tracking store, not yet started: use it as a context manager.

    Raises:
        UsageError: when the tracking store is a server already: it has a UI of its own; or `settings.host` is reached
            from other machines, and there is no token.
    """
    if is_server(settings):
        raise UsageError(f"MLflow runs at {address(settings)} already", hint="open it in a browser")
    require_safe(settings.access(), "the MLflow server")
    require_installed()
    settled(settings)
    names = [f"{name}:{port}" for name in dict.fromkeys((settings.host, "127.0.0.1", "localhost"))]
    artifacts = str(settings.folder("mlartifacts"))
    return Service(
        name="the MLflow UI",
        command=[
            *SUBREAPER,
            *(sys.executable, "-m", "mlflow", "--env-file", str(server_folder() / "server.env")),
            *("server", "--app-name", APP_NAME),
        ],
        ready_url=f"http://{reached_at(settings.host, port)}/health",
        log=settings.folder("logs") / "mlflow.log",
        timeout_s=FIRST_START_S,
        # What depends on this home, over what mlflow/server.env says for everybody. No arguments: `ps` would show the
        # password of the store.
        env={
            **settings.guard_environment(),
            "MLFLOW_HOST": settings.host,
            "MLFLOW_PORT": str(port),
            # Our guard has judged the Host before, by what MLflow's list cannot say: networks, IPv6, the connection's
            # own address.
            "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}" for name in names),
            "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts,
            "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        },
    )


def worker(settings: Settings, api_url: str, root: Path) -> Service:
    """A Prefect worker of the pool, not yet started, running flows with `root` as working folder."""
    port = free_port()
    return Service(
        name="the Prefect worker",
        command=[
            *SUBREAPER,
            *(sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"),
            *("--name", f"{socket.gethostname()}-{root.resolve().name}", "--with-healthcheck"),
        ],
        ready_url=f"http://127.0.0.1:{port}/health",
        log=settings.folder("logs") / "worker.log",
        timeout_s=FIRST_START_S,
        env={
            **prefect_environment(settings, console="INFO"),
            "PREFECT_API_URL": api_url,
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "FULLCIRCLE_HOME": str(settings.home),
        },
    )


def ui(
    settings: Settings,
    *,
    root: Path | None = None,
    with_worker: bool = False,
    say: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run both UIs, say where they are, and wait for Ctrl-C (or SIGTERM, or `stop`); then end what was started.

    Args:
        root: the worker's working folder; default: this one.
        with_worker: also run a worker, so that what `fullcircle schedule` made is executed.
        say: takes the lines for the reader; default: standard output.

    Raises:
        ServiceUnavailable: when one does not come up (naming the variable of a port that is taken), or goes away.
        HomeUnwritable: the home was moved or removed meanwhile.
    """
    say = say or _print
    stop = stop or threading.Event()
    with _until_interrupted(), contextlib.ExitStack() as stack:
        services = []
        # Both before either starts: a refusal leaves nothing behind.
        require_safe(settings.access(), "the UIs")
        if settings.insecure and not settings.token and not is_loopback(settings.host):
            say(f"careful: whoever reaches {settings.host} may read, change and run everything here; there is no token")
        mlflow_url = address(settings)
        if not mlflow_url.startswith(("http://", "https://")):
            _check_free(settings.host, settings.mlflow_port, "FULLCIRCLE_MLFLOW_PORT")
            services.append(mlflow_ui(settings, settings.mlflow_port))
            mlflow_url = services[-1].ready_url.removesuffix("/health")
        api_url = settings.prefect_url or running(settings)
        if api_url is None:
            _check_free(settings.host, settings.prefect_port, "FULLCIRCLE_PREFECT_PORT")
            services.append(prefect_server(settings, port=settings.prefect_port))
            api_url = server_url(services[-1])
        for service in services:
            service.start()  # side by side: each takes several seconds
            stack.callback(service.stop)
        for service in services:
            service.wait_ready()
        if with_worker:
            services.append(stack.enter_context(worker(settings, api_url, root or Path())))
        say(f"MLflow   {mlflow_url}   experiments, runs, models")
        for line in _champions(settings, root or Path(), mlflow_url):
            say(line)
        say(f"Prefect  {api_url.removesuffix('/api')}   flow runs, deployments, automations")
        say("Ctrl-C ends both" if not with_worker else "a worker runs what is scheduled; Ctrl-C ends all")
        _wait(settings, services, stop)


def _champions(settings: Settings, root: Path, mlflow_url: str) -> Iterator[str]:
    """Of each project that has a champion: where the UI shows its runs to a reviewer, and the champion's own."""
    workspace = Workspace(settings)
    registry, run_store = workspace.registry, workspace.run_store
    for name in project_names(root.resolve()):
        if (champion := registry.alias(name, CHAMPION)) is not None:
            yield f"  {name}, to review: {mlflow_url}/{run_store.review_link(champion.run_id)}"
            yield f"  {name}, version {champion.version}: {mlflow_url}/{run_store.link(champion.run_id)}"


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block at once, also while servers are still coming up, and are no error."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if ours else None
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def _wait(settings: Settings, services: list[Service], stop: threading.Event) -> None:
    missed = dict.fromkeys((service.name for service in services), 0)
    while not stop.wait(LOOK_EVERY_S):
        settings.folder()  # a home that was moved away ends the servers: they would write at its old place
        for service in services:
            missed[service.name] = 0 if answers(service.ready_url) else missed[service.name] + 1
            if missed[service.name] >= LOOKS:
                raise ServiceUnavailable(f"{service.name} went away", hint=f"its log is {service.log}")


def _check_free(host: str, port: int, variable: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceUnavailable(
                f"cannot listen on {host}:{port} ({error.strerror})", hint=f"set {variable} to another port"
            ) from error


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
