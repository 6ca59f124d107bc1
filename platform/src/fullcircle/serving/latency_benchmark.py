"""Latency benchmark of a graph before its release: it answers in the real server, over HTTP, and is timed there.

What a caller waits for is more than the graph: parsing, the prediction log and the answer take longer than a small
model does. The rehearsal has a log of its own, which nobody reads, and no registry: nothing of it can be mistaken for
production.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.security.access import bearer
from fullcircle.core.settings import QUIET, Settings
from fullcircle.core.statistics.latency import Latency, LatencyRound, judge_latency
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.system.processes import Service, free_port, processor_seconds
from fullcircle.core.system.temporary_folders import temporary
from fullcircle.serving.client import tensors_of

if TYPE_CHECKING:
    import pandas as pd

HOST = "127.0.0.1"
VERSION = "rehearsal"
REQUESTS = 300
"""One-row requests of a round, after `WARM_UP` of them."""
WARM_UP, ROUNDS = 30, 3
ROUND_S, FEWEST = 1.5, 50
"""A round ends after so long, with so many requests at least: of a slow model a few say as much."""
PATIENCE_S = 30.0
"""How long a figure over the budget is measured again beside a reference, in case the machine was busy."""


@dataclass(frozen=True)
class StaticModel:
    """A registry of a single file, for a `champion.ModelReloader`: whatever alias is asked for, it is this one."""

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


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A graph that is asked in turn with the one that is measured: the champion's, or the baseline's.

    Attributes:
        name: in words, for the verdict's sentence.
        kept_ms: the 99th percentile that it was released with; None: not known.
    """

    name: str
    graph: Path
    digest: str
    kept_ms: float | None = None


def served_latency(
    project: Project,
    settings: Settings,
    graph: Path,
    digest: str,
    frame: pd.DataFrame,
    *,
    reference: Reference | None = None,
    patience_s: float = PATIENCE_S,
) -> Latency:
    """How long a graph takes to answer one raw row over HTTP on loopback: one caller, one connection.

    A few rounds, of which one within the project's budget is enough. Where none is, the reference is served beside it
    and both are asked in turn, until it is known whether the model or the machine is slow, or patience ends.

    Args:
        graph: the ONNX file, which must have this SHA-256.
        frame: raw rows, at least one; they are asked for in turn.

    Raises:
        ServiceUnavailable: the server does not start, or does not answer with this graph.
    """
    bodies, budget_ms, ends = _bodies(project, frame), project.budgets.p99_ms, time.monotonic() + patience_s
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(_served(project, settings, graph, digest, bodies))
        found = _alone(model, budget_ms)
        if reference is None or judge_latency(found, budget_ms)[0] is not Outcome.INCONCLUSIVE:
            return found
        try:
            beside = _served(project, settings, reference.graph, reference.digest, bodies)
            other = stack.enter_context(beside)
        except ServiceUnavailable:
            return found  # a reference that cannot be served any more is no fault of the model
        found = dataclasses.replace(found, reference=reference.name, reference_kept_ms=reference.kept_ms)
        return _in_turn(found, model, other, budget_ms, ends)


Measure = Callable[[], tuple[float, float | None]]
"""Asks one round: (99th percentile, median processor time of the server), in ms."""


def _alone(model: Measure, budget_ms: float) -> Latency:
    """A few rounds; one of a model whose processor time alone is over the budget: no round will be within it."""
    found = Latency(rounds=())
    while len(found.rounds) < ROUNDS and (found.cpu_ms is None or found.cpu_ms <= budget_ms):
        p99, cpu = model()
        found = dataclasses.replace(found, rounds=(*found.rounds, LatencyRound(p99_ms=p99, cpu_ms=cpu)))
    return found


def _in_turn(found: Latency, model: Measure, other: Measure, budget_ms: float, ends: float) -> Latency:
    """Rounds of both, who is first changing, until they decide or time is over; a few in any case."""
    for number in itertools.count():
        ours = model() if number % 2 else None  # who is first changes
        theirs = other()
        p99, cpu = ours or model()
        one = LatencyRound(p99_ms=p99, cpu_ms=cpu, reference_p99_ms=theirs[0], reference_cpu_ms=theirs[1])
        found = dataclasses.replace(found, rounds=(*found.rounds, one))
        decided = judge_latency(found, budget_ms)[0] is not Outcome.INCONCLUSIVE
        if number + 1 >= ROUNDS and (decided or time.monotonic() >= ends):
            break
    return found


@contextlib.contextmanager
def _served(
    project: Project, settings: Settings, graph: Path, digest: str, bodies: Sequence[bytes]
) -> Iterator[Measure]:
    """A warm server of that graph and a connection to it."""
    with (
        temporary(settings.folder("exports"), "rehearsal-") as folder,
        _service(project, settings, graph, digest, folder) as running,
    ):
        port = int(running.ready_url.rsplit(":", 1)[1].partition("/")[0])
        connection = http.client.HTTPConnection(HOST, port, timeout=30.0)
        headers = {"Content-Type": "application/json", **bearer(settings.token)}

        def measure() -> tuple[float, float | None]:
            connection.close()  # the server gives up one that was idle while the other model had its turn
            _asked(project, connection, bodies[:WARM_UP], headers)
            return _figures(_asked(project, connection, bodies, headers, running.pid))

        try:
            _asked(project, connection, bodies[:WARM_UP], headers)  # here: whether it answers at all
            yield measure
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailable(
                f"the rehearsal of {graph} broke off ({type(error).__name__}: {error})", hint="run it again"
            ) from error
        finally:
            connection.close()


def _figures(asked: Sequence[tuple[float, float | None]]) -> tuple[float, float | None]:
    import numpy as np

    work = [cpu for _, cpu in asked if cpu is not None]
    return float(np.percentile([s for s, _ in asked], 99)) * 1e3, float(np.median(work)) * 1e3 if work else None


def _bodies(project: Project, frame: pd.DataFrame) -> list[bytes]:
    """One request a row, as a client sends it."""
    import msgspec

    rows = (frame.iloc[[number % len(frame)]] for number in range(min(REQUESTS, len(frame))))
    different = [msgspec.json.encode({"inputs": tensors_of(row, project)}) for row in rows]
    return [different[number % len(different)] for number in range(REQUESTS)]


def _asked(
    project: Project,
    connection: http.client.HTTPConnection,
    bodies: Sequence[bytes],
    headers: dict[str, str],
    pid: int | None = None,
) -> list[tuple[float, float | None]]:
    """Of each request: seconds until its answer, and seconds of processor time of the server `pid` meanwhile."""
    path = f"/v2/models/{project.name}/infer"
    asked: list[tuple[float, float | None]] = []
    ends = time.perf_counter() + ROUND_S
    for body in bodies:
        if len(asked) >= FEWEST and time.perf_counter() >= ends:
            break
        worked = processor_seconds(pid) if pid else None
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - began
        now = processor_seconds(pid) if pid else None
        asked.append((seconds, None if worked is None or now is None else now - worked))
        if response.status != 200:
            said = answer[:200].decode(errors="replace")
            raise ServiceUnavailable(
                f"the rehearsal of {project.name!r} was answered {response.status}: {said}",
                hint="the graph does not do in the server what it did on the test rows",
            )
    return asked


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
