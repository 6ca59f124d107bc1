"""A server of our own that was killed comes back; one that is not ours, and stays away, is said in one line."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.system.processes import Service, free_port
from fullcircle.loop import progress
from fullcircle.orchestration.api_probe import reachable, require_api, short_outage_errors
from fullcircle.orchestration.service_restart import restart_on_exit

SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Says(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

HTTPServer(("127.0.0.1", int(sys.argv[1])), Says).serve_forever()
"""


class Notes(progress.LogProgress):
    """Notes, and what is done when one comes."""

    def __init__(self, on_note: Callable[[str], None] = lambda _: None) -> None:
        self.notes: list[str] = []
        self.came = threading.Event()
        self._on_note = on_note

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._on_note(text)
        if text.endswith("is up again"):
            self.came.set()


def test_a_server_that_is_killed_is_started_again_at_its_address_until_its_block_ends(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", SERVER, str(port)]
    service = Service(name="the small server", command=command, ready_url=url, log=tmp_path / "log")
    notes = Notes()
    with service, progress.shown_by(notes):
        with restart_on_exit(service):
            for _ in range(2):
                first = service.pid
                assert first is not None
                notes.came.clear()
                os.kill(first, signal.SIGKILL)
                assert notes.came.wait(60)
                assert reachable(url)
                assert service.pid not in (None, first)
        assert service.pid is None, "it ended with its block"
    ended, again = "the small server ended with exit code -9", "the small server is up again"
    assert [note.partition(":")[0] for note in notes.notes] == [ended, again] * 2
    assert not reachable(url)


def test_an_api_that_does_not_come_back_is_said_in_one_line_with_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with progress.shown_by(Notes()) as notes, pytest.raises(ServiceUnavailable) as away:
        require_api(limit_s=0.1)
    assert f"{away.value}" == (
        f"the Prefect API {url} went away, for 0 s; what was finished stays; the same command goes on from there"
    )
    assert isinstance(notes, Notes)
    assert notes.notes == [f"the Prefect API {url} does not answer: waiting for up to 0 s"]


def test_an_api_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)  # whatever it says: it is there

    server = ThreadingHTTPServer(("127.0.0.1", 0), Says, bind_and_activate=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.server_address = taken.getsockname()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")

    def comes_back(_: str) -> None:
        if server.socket.fileno() >= 0 and not thread.is_alive():
            server.server_bind()
            server.server_activate()
            thread.start()

    thread = threading.Thread(target=server.serve_forever, daemon=True)
    notes = Notes(comes_back)
    with progress.shown_by(notes):
        require_api()
    assert notes.notes[-1] == "it answers again: going on"
    server.shutdown()
    server.server_close()


def test_what_prefect_raises_of_an_api_that_went_away_is_one_line_and_all_else_is_left_as_it_is() -> None:
    gone = f"http://127.0.0.1:{free_port()}/api"
    says = f"^the Prefect API {gone} went away; what was finished stays"
    with pytest.raises(ServiceUnavailable, match=says), short_outage_errors(gone):
        raise OSError("All connection attempts failed")
    with pytest.raises(UsageError, match="wrong"), short_outage_errors(gone):
        raise UsageError("wrong")


def test_nobody_is_asked_where_there_is_no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    require_api(limit_s=0.0)
