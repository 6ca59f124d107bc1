"""A dress rehearsal: a graph that is not released yet answers in the real server, over HTTP, and is timed there.

What a caller waits for is more than the graph: parsing, the prediction log and the answer take longer than a small
model does. The rehearsal has a log of its own, which nobody reads, and no registry: nothing of it can be mistaken for
production.
"""

from __future__ import annotations

import http.client
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fullcircle.core.access import bearer
from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.models import ModelVersion
from fullcircle.core.processes import Service, free_port
from fullcircle.core.project import Project
from fullcircle.core.settings import QUIET, Settings

if TYPE_CHECKING:
    import pandas as pd

HOST = "127.0.0.1"
VERSION = "rehearsal"
REQUESTS = 300
"""One-row requests of a round, after `WARM_UP` of them."""
WARM_UP, ROUNDS = 30, 3
PATIENCE_S = 30.0
"""How long a figure over the budget is measured again, in case the machine was busy with something else."""


@dataclass(frozen=True)
class OneGraph:
    """A registry of a single file, for a `champion.ChampionFollower`: whatever alias is asked for, it is this one."""

    path: Path
    digest: str

    def alias(self, name: str, alias: str) -> ModelVersion:
        """The one version."""
        return ModelVersion(
            name=name,
            version=VERSION,
            run_id="",
            digest=self.digest,
            aliases=(alias,),
            created=datetime.now(UTC),
            tags={},
        )

    def graph(self, version: ModelVersion) -> Path:
        """The one file; the follower checks its digest."""
        return self.path


def served_p99_ms(project: Project, settings: Settings, graph: Path, digest: str, frame: pd.DataFrame) -> float:
    """99th percentile, in milliseconds, of answering one raw row over HTTP on loopback: one caller, one connection.

    The least of a few rounds: other work on the machine only ever adds to a round, and is no fault of the model. While
    none was within the project's budget, more rounds follow, for `PATIENCE_S` in all.

    Args:
        graph: the ONNX file, which must have this SHA-256.
        frame: raw rows, at least one; they are asked for in turn.

    Raises:
        ServiceUnavailable: the server does not start, or does not answer with this graph.
    """
    bodies = _bodies(project, frame)
    with (
        TemporaryDirectory(prefix="rehearsal-", dir=settings.folder("exports")) as folder,
        _service(project, settings, graph, digest, Path(folder)) as running,
    ):
        port = int(running.ready_url.rsplit(":", 1)[1].partition("/")[0])
        connection = http.client.HTTPConnection(HOST, port, timeout=30.0)
        try:
            asked = {"Content-Type": "application/json", **bearer(settings.token)}
            _seconds(project, connection, bodies[:WARM_UP], asked)
            return _least_p99_ms(lambda: _seconds(project, connection, bodies, asked), project.budgets.p99_ms)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailable(
                f"the rehearsal of {graph} broke off ({type(error).__name__}: {error})", hint="run it again"
            ) from error
        finally:
            connection.close()


def _least_p99_ms(measure: Callable[[], Sequence[float]], enough_ms: float) -> float:
    import numpy as np

    least, rounds, ends = math.inf, 0, time.monotonic() + PATIENCE_S
    while rounds < ROUNDS or least > enough_ms:
        least, rounds = min(least, float(np.percentile(measure(), 99)) * 1e3), rounds + 1
        if time.monotonic() >= ends:
            break
    return least


def _bodies(project: Project, frame: pd.DataFrame) -> list[bytes]:
    """One request a row, as a client sends it."""
    import msgspec

    from fullcircle.serving.client import tensors_of

    rows = (frame.iloc[[number % len(frame)]] for number in range(min(REQUESTS, len(frame))))
    different = [msgspec.json.encode({"inputs": tensors_of(row, project)}) for row in rows]
    return [different[number % len(different)] for number in range(REQUESTS)]


def _seconds(
    project: Project, connection: http.client.HTTPConnection, bodies: Sequence[bytes], headers: dict[str, str]
) -> list[float]:
    path = f"/v2/models/{project.name}/infer"
    seconds = []
    for body in bodies:
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        seconds.append(time.perf_counter() - began)
        if response.status != 200:
            said = answer[:200].decode(errors="replace")
            raise ServiceUnavailable(
                f"the rehearsal of {project.name!r} was answered {response.status}: {said}",
                hint="the graph does not do in the server what it did on the test rows",
            )
    return seconds


def _service(project: Project, settings: Settings, graph: Path, digest: str, folder: Path) -> Service:
    port = free_port(HOST)
    return Service(
        name=f"the rehearsal of {project.name}",
        command=[
            *(sys.executable, "-m", "fullcircle.serving.server", str(project.folder.resolve())),
            *("--host", HOST, "--port", str(port), "--poll-s", "3600"),
            *("--graph", str(graph.resolve()), "--digest", digest, "--log", str(folder.resolve())),
        ],
        ready_url=f"http://{HOST}:{port}/v2/health/live",  # ready says 503 for ever where the graph does not fit,
        log=settings.folder("logs") / f"rehearse-{project.name}.log",
        env={**QUIET, **settings.guard_environment(), "FULLCIRCLE_HOME": str(settings.home)},
    )
