"""Runs the inference server of one project in this process, until SIGTERM or Ctrl-C; then seals the log.

`python -m fullcircle.serving.server <project or folder> [--host H] [--port P] [--poll-s S]`
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError, ServiceUnavailable
from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.security.access import Access, is_loopback, require_safe
from fullcircle.core.security.untrusted import LineFormatter
from fullcircle.core.settings import Settings, quiet_dependencies
from fullcircle.predictions.fingerprints.contract import contract_of
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving.latency_benchmark import StaticModel
from fullcircle.serving.model_reloader import ModelReloader

if TYPE_CHECKING:
    from starlette.applications import Starlette


logger = logging.getLogger(__name__)


def serve(
    project_name: str,
    settings: Settings,
    *,
    host: str,
    port: int,
    root: Path | None = None,
    poll_s: float = 2.0,
    rehearsed: StaticModel | None = None,
    log_folder: Path | None = None,
) -> None:
    """Serve the champion and follow its alias, until stopped. One process; several may share one prediction log.

    Starts without a champion too, answering 503 until there is one.

    Args:
        project_name: a project's name, or its folder.
        port: 0 takes a free one, and says which.
        root: where projects are looked for; the working folder by default.
        poll_s: how often the champion alias is looked at.
        rehearsed: answer with this graph, and not with the champion; see `rehearsal`.
        log_folder: of the prediction log, instead of the project's own.

    Raises:
        ProjectNotFound: no such project.
        UsageError: `host` is reached from other machines, and there is neither a token nor `settings.insecure`.
        HomeUnwritable: the prediction log cannot be written.
        ServiceUnavailable: the port is taken or the address not ours.
    """
    import uvicorn

    project, access = load_project(project_name, root), settings.access(host)
    require_safe(access, f"the inference server of {project.name!r}")
    _speak_up()
    with _listening(host, port) as listening:
        reloader = ModelReloader(settings, project, poll_s, registry=rehearsed)
        folder = log_folder or settings.folder("predictions", project.name)
        app = _application(project, reloader, folder, access, listening.getsockname()[1])
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        # Ctrl-C is how one ends it, not an error; uvicorn raises it again after its own orderly end.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of a server that another process starts; see `launch`. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="fullcircle.serving.server", description="Serve one project's champion.")
    parser.add_argument("project", help="its name, or its folder")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--insecure", action="store_true", help="an outer address without a token is meant")
    parser.add_argument("--poll-s", type=float, default=2.0)
    parser.add_argument("--graph", type=Path, help="rehearse this file instead of following the champion")
    parser.add_argument("--digest", default="", help="SHA-256 that it must have")
    parser.add_argument("--log", type=Path, help="folder of the prediction log, instead of the project's")
    given = parser.parse_args(arguments)
    quiet_dependencies()
    try:
        settings = Settings.from_env()
        if given.insecure:
            settings = dataclasses.replace(settings, insecure=True)
        port = settings.serve_port if given.port is None else given.port
        serve(
            given.project,
            settings,
            host=given.host or settings.host,
            port=port,
            poll_s=given.poll_s,
            rehearsed=StaticModel(given.graph, given.digest) if given.graph else None,
            log_folder=given.log,
        )
    except FullcircleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _application(project: Project, reloader: ModelReloader, folder: Path, access: Access, port: int) -> Starlette:
    from fullcircle.serving.app import create_app

    log = PredictionLog(folder, project.inputs, project.target.answers, slices=contract_of(project).slices)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Here and not around `run`: after a SIGTERM uvicorn ends the process as soon as this is over.
        from starlette.concurrency import run_in_threadpool

        try:
            await run_in_threadpool(reloader.start)
            version = reloader.current.version.version if reloader.current else None
            state = f"version {version} answers" if version else reloader.problem
            logger.info("serving %s on http://%s:%d (%s)", project.name, _bracketed(access.host), port, state)
            if not access.token and not is_loopback(access.host):
                logger.warning("careful: whoever reaches %s may ask and send labels; there is no token", access.host)
            yield
        finally:
            await run_in_threadpool(reloader.close)
            await run_in_threadpool(log.close)
            logger.info("%s: stopped, the prediction log is sealed", project.name)

    return create_app(
        project, reloader, log, LabelLog(folder / "labels", project.target), access=access, lifespan=lifespan
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # Connections inherit it. asyncio sets it itself only where the socket names its protocol, which this one does
        # not; without it an answer in two packets waits 40 ms for the caller's delayed acknowledgement (RFC 896, 1122).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        # Its own text repeats the address; errors of name resolution have negative numbers and only their text.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ServiceUnavailable(
            f"cannot listen on {_bracketed(host)}:{port} ({why})",
            hint="choose another with --port or FULLCIRCLE_SERVE_PORT, or end what listens there",
        ) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _speak_up() -> None:
    """Our own words go to stderr; what the libraries say stays as it is."""
    ours = logging.getLogger("fullcircle")
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(LineFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False


if __name__ == "__main__":
    sys.exit(main())
