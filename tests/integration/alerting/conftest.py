"""What the tests of delivery share: a project with routes, incidents, and receivers on loopback that keep a state."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.project import Binary, Number, Project, Watch
from fullcircle.core.records.incidents import Incident, Severity, WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database

MAY = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings)
    yield database
    database.close()


@pytest.fixture
def routed() -> Callable[..., Project]:
    """Makes a project of these routes."""
    return _routed


def _routed(*routes: str, **fields: Any) -> Project:
    made = Project(
        name="flights",
        owner="ops@example.com",
        runbook="https://wiki.example/flights",
        columns=(Number("temp"),),
        target=Binary("late", positive="late"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        routes=routes,
        watch=Watch(checks_to_close=1),
    )
    return replace(made, **fields)


@pytest.fixture
def incident() -> Callable[..., Incident]:
    """Makes an incident of the project, of a cause."""
    return _incident


def _incident(cause: str = "drift", **fields: Any) -> Incident:
    made = Incident(
        key=f"flights:{cause}",
        project="flights",
        cause=cause,
        severity=Severity.WARNING,
        title=f"{cause}: 7 columns",
        since=MAY,
        seen=MAY,
        columns=("temp",),
        evidence={"drifted columns": "7 of 20"},
        links={"run": "http://mlflow.example:5000/#/x", "report": "/reports/2013-05.html"},
    )
    return replace(made, **fields)


@pytest.fixture
def look() -> Callable[..., WindowCheck]:
    """Makes a look at the day that ends at a moment, which found these incidents and nothing else."""
    return _look


def _look(faults: Sequence[Incident], at: datetime) -> WindowCheck:
    start = at - timedelta(days=1)
    known = {"champion": "1", "rows": 900, "labelled": 900, "subjects": ("temp",)}
    return WindowCheck(project="flights", start=start, end=at, faults=tuple(faults), **known)  # type: ignore[arg-type]


@dataclass
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked], tuple[int, dict[str, str]]]


@dataclass
class Receiver:
    """An HTTP server on loopback: `answer` says the status and headers, `asked` keeps what came."""

    address: str
    port: int
    asked: list[Asked] = field(default_factory=list)


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Starts receivers: of an answer, and on an address of loopback (all of 127.0.0.0/8 is)."""
    started: list[ThreadingHTTPServer] = []

    def start(answer: Answer = lambda asked: (200, {}), address: str = "127.0.0.1") -> Receiver:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                made.asked.append(asked)
                status, headers = answer(asked)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer((address, 0), Handler)
        server.daemon_threads = True
        made = Receiver(address, server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        started.append(server)
        return made

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
