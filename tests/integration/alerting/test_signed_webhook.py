"""A webhook that libraries of both standards read and verify: CloudEvents and Standard Webhooks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.records.incidents import WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database

MAY = datetime(2013, 5, 1, tzinfo=UTC)
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def test_a_webhook_is_verified_and_shows_the_incident_as_open_and_then_as_resolved(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[..., WindowCheck],
) -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks", reason="needs the extra 'dev'")
    state: dict[str, str] = {}

    def verified(asked: Any) -> tuple[int, dict[str, str]]:
        try:
            event = standardwebhooks.Webhook(NEW).verify(asked.body, asked.headers)
        except standardwebhooks.WebhookVerificationError:
            return 401, {}
        state[event["subject"]] = event["type"]
        return 204, {}

    monkeypatch.setenv("PAGER_SECRET", OLD)
    receiver = receivers(verified)
    route = f"webhook+http://127.0.0.1:{receiver.port}/hook?tenant=7&secret=env:PAGER_SECRET"
    dispatcher = Dispatcher(db, routed(route), settings)
    (refused,) = dispatcher.report(look([incident()], at=MAY)).failed
    assert "HTTP 401" in refused
    assert state == {}
    monkeypatch.setenv("PAGER_SECRET", NEW)
    assert dispatcher.flush().failed == ()
    assert state == {"flights:drift": "fullcircle.incident.opened"}
    assert dispatcher.report(look([], at=MAY + timedelta(days=30))).failed == ()
    assert state == {"flights:drift": "fullcircle.incident.resolved"}
    assert {asked.path for asked in receiver.asked} == {"/hook?tenant=7"}, "the secret is no part of what is asked"
    first, second, _ = (asked.headers["webhook-id"] for asked in receiver.asked)
    assert first == second, "a page that is sent again has the same id"


def test_while_a_secret_is_changed_either_one_verifies(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks", reason="needs the extra 'dev'")
    receiver = receivers()
    route = f"webhook+http://127.0.0.1:{receiver.port}/?secret={OLD}&secret={NEW.replace('+', '%2B')}"
    assert Dispatcher(db, routed(route), settings).report(look([incident()], at=MAY)).failed == ()
    (asked,) = receiver.asked
    for secret in (OLD, NEW):
        assert standardwebhooks.Webhook(secret).verify(asked.body, asked.headers)["subject"] == "flights:drift"


def test_the_body_is_a_cloud_event(
    receivers: Callable[..., Any],
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    pytest.importorskip("cloudevents", reason="needs the extra 'dev'")
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event

    receiver = receivers()
    route = f"webhook+http://127.0.0.1:{receiver.port}/?secret={OLD}"
    assert Dispatcher(db, routed(route), settings).report(look([incident()], at=MAY)).failed == ()
    (asked,) = receiver.asked
    event = from_http_event(HTTPMessage(asked.headers, asked.body))
    assert (event.get_type(), event.get_source()) == ("fullcircle.incident.opened", "/fullcircle/flights")
    assert (event.get_subject(), event.get_time()) == ("flights:drift", MAY)
    data = event.get_data()
    assert isinstance(data, dict)
    assert (data["severity"], data["evidence"]) == ("warning", {"drifted columns": "7 of 20"})
    assert data["links"] == {"runbook": "https://wiki.example/flights", "run": "http://mlflow.example:5000/#/x"}
