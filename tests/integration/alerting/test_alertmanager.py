"""A real Alertmanager (Debian's) shows the alert as firing, passes it on, and says that it is resolved when it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.records.incidents import Severity, WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import die_with_parent, free_port
from fullcircle.store.database import Database

MAY = datetime(2013, 5, 1, tzinfo=UTC)
CONFIG = """
route: {{receiver: pager, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
- name: pager
  webhook_configs: [{{url: 'http://127.0.0.1:{port}/', send_resolved: true}}]
"""


@dataclass
class Alertmanager:
    """A running server, and the receiver that it passes its notifications on to."""

    port: int
    pager: Any
    start: Callable[[], None]
    kill: Callable[[], None]

    @property
    def route(self) -> str:
        return f"alertmanager://127.0.0.1:{self.port}"

    def shown(self) -> list[dict[str, Any]]:
        """The alerts that are not over, by its API."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v2/alerts", trust_env=False)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    def heard(self) -> list[tuple[str, str]]:
        """(status, severity) of each alert that it passed on, in order."""
        alerts = [alert for asked in self.pager.asked for alert in asked.json["alerts"]]
        return [(alert["status"], alert["labels"]["severity"]) for alert in alerts]


def until(true: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    pytest.fail(f"within a minute {what} did not come")


@pytest.fixture
def alertmanager(tmp_path: Path, receivers: Callable[..., Any]) -> Iterator[Alertmanager]:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("no Alertmanager on this machine: 'apt-get install prometheus-alertmanager'")
    pager, port, running = receivers(), free_port("127.0.0.1"), list[subprocess.Popen[bytes]]()
    config, log = tmp_path / "alertmanager.yml", tmp_path / "alertmanager.log"
    config.write_text(CONFIG.format(port=pager.port))

    def start() -> None:
        words = [f"--config.file={config}", f"--storage.path={tmp_path / 'alertmanager'}", "--cluster.listen-address="]
        words.append(f"--web.listen-address=127.0.0.1:{port}")
        with log.open("ab") as output:
            ends = die_with_parent(os.getpid(), signal.SIGKILL)
            running.append(subprocess.Popen([program, *words], stdout=output, stderr=output, preexec_fn=ends))
        until(lambda: _answers(port), f"Alertmanager ({log.read_text()})")

    def kill() -> None:
        running[-1].kill()
        running[-1].wait(60)

    start()
    yield Alertmanager(port, pager, start, kill)
    kill()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_it_shows_an_incident_as_firing_and_then_as_resolved(
    alertmanager: Alertmanager,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    dispatcher = Dispatcher(db, routed(alertmanager.route), settings)
    told = dispatcher.report(look([incident()], at=MAY))
    assert (told.pages, told.failed) == (1, ())
    (shown,) = alertmanager.shown()
    assert shown["status"]["state"] == "active" or shown["status"]["state"] == "unprocessed"
    assert shown["labels"] == {
        "alertname": "FullcircleDrift",
        "project": "flights",
        "cause": "drift",
        "incident": "flights:drift",
        "severity": "warning",
    }
    assert shown["annotations"]["summary"] == "[flights] warning: drift: 7 columns"
    assert "- drifted columns: 7 of 20" in shown["annotations"]["description"]
    assert shown["annotations"]["runbook_url"] == "https://wiki.example/flights"
    assert shown["generatorURL"] == "http://mlflow.example:5000/#/x"
    assert shown["startsAt"].startswith("2013-04-30T00:00:00")
    until(lambda: ("firing", "warning") in alertmanager.heard(), "the notification that it fires")

    over = dispatcher.report(look([], at=MAY + timedelta(days=30)))
    assert (over.pages, over.failed) == (1, ())
    until(lambda: alertmanager.shown() == [], "the end of the alert")
    until(lambda: ("resolved", "warning") in alertmanager.heard(), "the notification that it is resolved")
    assert alertmanager.heard() == [("firing", "warning"), ("resolved", "warning")], "and nobody hears of the others"


def test_it_fires_anew_when_the_incident_comes_back(
    alertmanager: Alertmanager,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    dispatcher = Dispatcher(db, routed(alertmanager.route), settings)
    for found in ([incident()], []):
        dispatcher.report(look(found, at=MAY + timedelta(days=30)))
    assert alertmanager.shown() == []
    critical = incident(since=MAY + timedelta(days=60), severity=Severity.CRITICAL)
    assert dispatcher.report(look([critical], at=MAY + timedelta(days=90))).failed == ()
    (shown,) = alertmanager.shown()
    assert shown["labels"]["severity"] == "critical"


def test_one_that_was_restarted_hears_again_of_what_is_open(
    alertmanager: Alertmanager,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    dispatcher = Dispatcher(db, routed(alertmanager.route), settings)
    dispatcher.report(look([incident(), incident("quality")], at=MAY))
    dispatcher.report(look([incident("quality")], at=MAY))
    alertmanager.kill()
    assert len(dispatcher.flush().failed) == 1, "it is away, and that is said"
    alertmanager.start()
    assert alertmanager.shown() == [], "it keeps alerts in memory alone"
    assert dispatcher.flush().failed == ()
    assert [shown["labels"]["cause"] for shown in alertmanager.shown()] == ["quality"]
