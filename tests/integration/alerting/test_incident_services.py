"""Receivers that keep the state of an alert by the rules of PagerDuty's and Opsgenie's APIs: it fires, then is over."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.records.incidents import Severity, WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents

MAY = datetime(2013, 5, 1, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"


class EventsApi:
    """PagerDuty's Events API v2: what it refuses, and what becomes of its alerts."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}

    def __call__(self, asked: Any) -> tuple[int, dict[str, str]]:
        event = asked.json
        known = event.get("event_action") in ("trigger", "acknowledge", "resolve")
        key = event.get("dedup_key")
        if asked.path != "/v2/enqueue" or event.get("routing_key") != KEY or not known or not 0 < len(key or "") <= 255:
            return 400, {}
        if event["event_action"] != "trigger":
            if key in self.alerts:
                self.alerts[key]["status"] = f"{event['event_action'].removesuffix('e')}ed"
            return 202, {}
        payload = event["payload"]
        severe = payload["severity"] in ("critical", "error", "warning", "info")
        if not severe or not 0 < len(payload["summary"]) <= 1024 or not payload["source"]:
            return 400, {}
        if any(not re.match("https?://", link["href"]) for link in event.get("links", ())):
            return 400, {}
        datetime.fromisoformat(payload["timestamp"])
        self.alerts[key] = {"status": "triggered", **payload}
        return 202, {}


class AlertApi:
    """Opsgenie's Alert API: alerts by their alias."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}

    def __call__(self, asked: Any) -> tuple[int, dict[str, str]]:
        place, body = urlsplit(asked.path), asked.json
        if asked.headers.get("authorization") != f"GenieKey {KEY}":
            return 422, {}
        if place.path == "/v2/alerts":
            fits = 0 < len(body["message"]) <= 130 and len(body["description"]) <= 15_000
            if not fits or body["priority"] not in ("P1", "P2", "P3", "P4", "P5"):
                return 422, {}
            self.alerts[body["alias"]] = {"status": "open", "acknowledged": False, **body}
            return 202, {}
        match = re.fullmatch("/v2/alerts/([^/]+)/(close|acknowledge)", place.path)
        if match is None or parse_qs(place.query) != {"identifierType": ["alias"]}:
            return 404, {}
        alert = self.alerts[unquote(match[1])]
        alert.update({"status": "closed"} if match[2] == "close" else {"acknowledged": True})
        return 202, {}


def test_pagerduty_triggers_an_alert_and_resolves_the_same_one(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    service = EventsApi()
    route = f"pagerduty://{KEY}?api=http://127.0.0.1:{receivers(service).port}"
    dispatcher = Dispatcher(db, routed(route), settings)
    both = [incident(), incident("quality", severity=Severity.CRITICAL, title="t" * 3000)]
    assert dispatcher.report(look(both, at=MAY)).failed == ()
    shown = {key: (alert["status"], alert["severity"]) for key, alert in service.alerts.items()}
    assert shown == {"flights:drift": ("triggered", "warning"), "flights:quality": ("triggered", "critical")}
    assert service.alerts["flights:drift"]["custom_details"]["drifted columns"] == "7 of 20"
    assert dispatcher.report(look([incident()], at=MAY + timedelta(days=30))).failed == ()
    assert {key: alert["status"] for key, alert in service.alerts.items()} == {
        "flights:drift": "triggered",
        "flights:quality": "resolved",
    }
    again = incident("quality", since=MAY + timedelta(days=60))
    assert dispatcher.report(look([incident(), again], at=MAY + timedelta(days=60))).failed == ()
    assert service.alerts["flights:quality"]["status"] == "triggered"


def test_a_key_of_any_length_is_resolved_by_the_key_that_it_was_triggered_with(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    service = EventsApi()
    route = f"pagerduty://{KEY}?api=http://127.0.0.1:{receivers(service).port}"
    dispatcher = Dispatcher(db, routed(route), settings)
    long = [incident("rollback", key="flights:" + "k" * 300 + end) for end in "ab"]
    assert dispatcher.report(look(long, at=MAY)).failed == ()
    assert dispatcher.report(look(long[:1], at=MAY)).failed == ()
    assert [alert["status"] for alert in service.alerts.values()] == ["triggered", "resolved"]


def test_opsgenie_opens_an_alert_and_closes_the_same_one(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    service = AlertApi()
    route = f"opsgenie://{KEY}/%23oncall?api=http://127.0.0.1:{receivers(service).port}"
    dispatcher = Dispatcher(db, routed(route), settings)
    odd = incident("quality", key="flights/quality:a b?c", severity=Severity.CRITICAL)
    assert dispatcher.report(look([incident(), odd], at=MAY)).failed == ()
    assert {key: (alert["status"], alert["priority"]) for key, alert in service.alerts.items()} == {
        "flights:drift": ("open", "P3"),
        "flights/quality:a b?c": ("open", "P1"),
    }
    assert service.alerts["flights:drift"]["responders"] == [{"type": "team", "name": "oncall"}]
    assert dispatcher.report(look([incident()], at=MAY + timedelta(days=30))).failed == ()
    assert [alert["status"] for alert in service.alerts.values()] == ["open", "closed"]


def test_a_key_from_the_environment_is_sent_and_never_told(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[..., WindowCheck],
) -> None:
    service = EventsApi()
    receiver = receivers(service)
    route = f"pagerduty://env:PAGERDUTY_KEY?api=http://127.0.0.1:{receiver.port}"
    dispatcher = Dispatcher(db, routed(route), settings)
    (why,) = dispatcher.report(look([incident()], at=MAY)).failed
    assert why.startswith("pagerduty-")
    assert receiver.asked == []
    monkeypatch.setenv("PAGERDUTY_KEY", "wrong-key-of-somebody")
    (why,) = dispatcher.flush().failed
    assert "HTTP 400" in why
    monkeypatch.setenv("PAGERDUTY_KEY", KEY)
    kept = " ".join(str(row) for row in Incidents(db).undelivered())
    assert dispatcher.flush().failed == ()
    assert service.alerts["flights:drift"]["status"] == "triggered"
    for secret in (KEY, "wrong-key-of-somebody"):
        assert secret not in why + kept
        assert secret not in (settings.home / "fullcircle.db").read_bytes().decode("latin1")
