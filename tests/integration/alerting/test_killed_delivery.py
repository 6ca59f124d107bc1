"""A process that is killed while a route has its page and has not answered: the page comes again, none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.records.incidents import WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents

PROGRAM = """
    import sys
    from datetime import UTC, datetime
    from fullcircle.alerting.dispatch import Dispatcher
    from fullcircle.core.records.incidents import Incident, WindowCheck, Severity
    from fullcircle.core.project import Binary, Number, Project
    from fullcircle.core.settings import Settings
    from fullcircle.store.database import Database

    settings = Settings.from_env({"FULLCIRCLE_HOME": sys.argv[1]})
    project = Project(name="p", owner="o", columns=(Number("x"),), target=Binary("y", positive="y"), time="t",
                      row_id="i", torch=lambda inputs, params: None, routes=(sys.argv[2],))
    now = datetime(2013, 5, 1, tzinfo=UTC)
    incident = Incident(key="p/drift", project="p", cause="drift", severity=Severity.WARNING, title="drift",
                        since=now, seen=now, columns=(), evidence={}, links={})
    look = WindowCheck(project="p", start=now, end=now, champion="1", rows=900, labelled=0, faults=(incident,))
    Dispatcher(Database(settings), project, settings).report(look)
"""


def test_a_page_whose_sender_was_killed_before_the_answer_is_sent_again(tmp_path: Path) -> None:
    senders: list[int] = []
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})

    class KillsItsSender(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            os.kill(senders[0], signal.SIGKILL)

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), KillsItsSender) as server:
        thread = threading.Thread(target=server.handle_request)
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(settings.home)]
        sender = subprocess.Popen([*command, f"json://127.0.0.1:{server.server_address[1]}"], stderr=subprocess.PIPE)
        senders.append(sender.pid)
        thread.start()
        assert (sender.communicate()[1], sender.returncode) == (b"", -signal.SIGKILL)
        thread.join()

    db = Database(settings)
    assert len(Incidents(db).undelivered("p")) == 1
    with WebhookReceiver() as receiver:
        project = Project(
            name="p",
            owner="o",
            columns=(Number("x"),),
            target=Binary("y", positive="y"),
            time="t",
            row_id="i",
            torch=lambda inputs, params: None,
            routes=(receiver.url,),
        )
        faults = tuple(row.incident for row in Incidents(db).open("p"))
        june = datetime(2013, 6, 1, tzinfo=UTC)
        look = WindowCheck(project="p", start=june, end=june, champion="1", rows=900, labelled=0, faults=faults)
        told = Dispatcher(db, project, settings).report(look)
        assert (told.opened, told.pages) == ((), 1)
        assert [each["title"] for each in receiver.pages] == ["[p] warning: drift"]
