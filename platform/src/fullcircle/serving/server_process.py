"""Starts the inference server as a child process that never outlives us."""

from __future__ import annotations

import sys

from fullcircle.core.project import Project
from fullcircle.core.settings import QUIET, Settings
from fullcircle.core.system.processes import Service
from fullcircle.serving.latency_benchmark import HOST


def service(project: Project, settings: Settings, *, port: int, poll_s: float = 0.5) -> Service:
    """The server of one project on loopback, at `port`, not started yet: it is for who starts it.

    It counts as up when it answers at all, which it does after it loaded the champion, if there is one.
    `Client.wait_for` tells when a particular version answers. Stopping it seals the prediction log.

    Args:
        poll_s: how often it looks at the champion alias.
    """
    return Service(
        name=f"the inference server of {project.name}",
        command=[
            *(sys.executable, "-m", "fullcircle.serving.server", str(project.folder.resolve())),
            *("--host", HOST, "--port", str(port), "--poll-s", str(poll_s)),
        ],
        ready_url=f"http://{HOST}:{port}/v2/health/live",
        log=settings.folder("logs") / f"serve-{project.name}.log",
        env={
            **QUIET,
            **settings.guard_environment(),
            "FULLCIRCLE_HOME": str(settings.home),
            "FULLCIRCLE_DATABASE_URL": settings.database_url,
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
        },
    )
