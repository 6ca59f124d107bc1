"""What each receiver is sent, word for word where a standard says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fullcircle.alerting.page import Page
from fullcircle.alerting.route_url import RouteInvalid, RouteUrl
from fullcircle.alerting.routes import deliver
from fullcircle.alerting.senders import alertmanager, mail, opsgenie, pagerduty, signed_webhook
from fullcircle.core.records.incidents import Severity

MAY, NOW = datetime(2013, 5, 1, tzinfo=UTC), datetime(2026, 11, 28, 12, tzinfo=UTC)
OPENED = Page(
    title="[flights] warning: drift",
    body="What: drift",
    severity=Severity.WARNING,
    key="flights:drift",
    kind="open",
    project="flights",
    cause="drift",
    starts=MAY,
    seen=MAY,
    links={"report": "/reports/x.html", "run": "http://mlflow.example/1", "runbook": "docs/runbook.md"},
    details={"drifted": "7 of 20"},
)
OVER = replace(OPENED, kind="resolved", ends=MAY + timedelta(days=30))


def test_an_alert_fires_with_its_severity_and_is_over_with_every_other() -> None:
    ends = {each["labels"]["severity"]: each["endsAt"] for each in alertmanager.alerts(OPENED, NOW)}
    assert ends == {
        "info": "2026-11-28T12:00:00Z",
        "warning": "2027-11-28T12:00:00Z",
        "critical": "2026-11-28T12:00:00Z",
    }
    assert {each["endsAt"] for each in alertmanager.alerts(OVER, NOW)} == {"2026-11-28T12:00:00Z"}


def test_no_alert_ends_before_it_starts_whatever_the_time_of_the_data_says() -> None:
    ahead = replace(OVER, starts=NOW + timedelta(days=1), ends=NOW + timedelta(days=2))
    for alert in alertmanager.alerts(ahead, NOW):
        assert alert["startsAt"] < alert["endsAt"] <= "2026-11-28T12:00:00Z"


def test_labels_say_which_alert_it_is_and_annotations_what_it_says() -> None:
    louder = replace(OPENED, title="another", details={"drifted": "9 of 20"}, seen=NOW)
    assert alertmanager.labels(louder) == alertmanager.labels(OPENED)
    (first, *_), (second, *_) = (alertmanager.alerts(each, NOW) for each in (OPENED, louder))
    assert first["annotations"] != second["annotations"]
    assert first["generatorURL"] == "http://mlflow.example/1", "a file of this machine opens on no other"


@pytest.mark.parametrize(
    ("kind", "action"),
    [("open", "trigger"), ("escalated", "trigger"), ("acknowledged", "acknowledge"), ("resolved", "resolve")],
)
def test_an_event_of_pagerduty_has_the_incidents_key(kind: str, action: str) -> None:
    event = pagerduty.event(replace(OPENED, kind=kind), routing_key="k")
    assert (event["event_action"], event["dedup_key"], event["routing_key"]) == (action, "flights:drift", "k")
    assert ("payload" in event) is (action == "trigger")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("open", "/v2/alerts"),
        ("escalated", "/v2/alerts"),
        ("acknowledged", "/v2/alerts/flights%3Adrift/acknowledge?identifierType=alias"),
        ("resolved", "/v2/alerts/flights%3Adrift/close?identifierType=alias"),
    ],
)
def test_a_request_of_opsgenie_has_the_incidents_key_as_alias(kind: str, path: str) -> None:
    found, body = opsgenie.request(replace(OPENED, kind=kind), [])
    assert found == path
    assert body.get("alias") == ("flights:drift" if path == "/v2/alerts" else None)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """Source: the test vector of the Standard Webhooks specification."""
    secret = signed_webhook.secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    assert signed_webhook.signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, [secret]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("kind", ["opened", "acknowledged", "escalated", "resolved"])
def test_an_event_says_in_its_type_what_became_of_the_incident(kind: str) -> None:
    event = signed_webhook.cloud_event(replace(OPENED, kind="open" if kind == "opened" else kind))
    assert (event["type"], event["subject"]) == (f"fullcircle.incident.{kind}", "flights:drift")


@pytest.mark.parametrize(("text", "why"), [("short", "fewer than 24 bytes"), ("whsec_###", "not base64")])
def test_a_secret_that_signs_nothing_is_refused(text: str, why: str) -> None:
    with pytest.raises(RouteInvalid, match=why):
        signed_webhook.secret_bytes(text)


def test_a_mail_that_is_sent_again_has_the_same_message_id_and_refers_to_the_first() -> None:
    first, second, over = (
        mail.message(page, sender="a@example.com", recipients=["b@example.com"], at=at)
        for page, at in ((OPENED, MAY), (OPENED, NOW), (OVER, NOW))
    )
    assert first["Message-ID"] == second["Message-ID"] == over["References"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("webhook+https://127.0.0.1:9/x", "add ?secret=env:NAME"),
        ("webhook+https://127.0.0.1:9/x?secret=hunter2", "fewer than 24 bytes"),
        ("pagerduty://k?region=mars", "region must be one of us, eu"),
        ("opsgenie://k?region=mars", "region must be one of us, eu"),
        ("smtp://127.0.0.1:9", "add ?from=ADDRESS&to=ADDRESS"),
        ("smtp://127.0.0.1:9?from=a%0Ab@c&to=d@e", "no mail address"),
        ("alertmanager://127.0.0.1:9", "ConnectError"),
        ("smtps://127.0.0.1:9?from=a@b&to=c@d", "ConnectionRefusedError"),
        ("pagerduty://env:NOT_SET_ANYWHERE", "is not set"),
    ],
)
def test_a_route_that_does_not_work_says_why_and_raises_nothing(url: str, why: str) -> None:
    said = deliver(OPENED, url)
    assert why in said
    assert "hunter2" not in said


def test_a_route_of_pagerduty_may_be_written_as_apprise_has_it() -> None:
    route = RouteUrl.parse("pagerduty://RoutingKey@ApiKey/source")
    assert (route.user, route.host) == ("RoutingKey", "ApiKey")
