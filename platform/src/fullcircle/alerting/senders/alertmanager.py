"""Prometheus Alertmanager, by its API v2: `alertmanagers://user:password@host/prefix`, `alertmanager://` without TLS.

Source: github.com/prometheus/alertmanager, api/v2/openapi.yaml (`postAlerts`). An alert is known by its labels, and by
nothing else: what changes while it lasts is in annotations. It is firing until `endsAt`.

- Alertmanager keeps alerts in memory alone and forgets them when it is restarted, so a firing one is sent again with
  every round of deliveries (`Dispatcher.flush`), and its `endsAt` is far: a watch that stops running is no evidence
  that all is well. It is over when it is sent with an `endsAt` of now.
- Routes and inhibitions match labels, so the severity has to be one, although it may change. Each time all severities
  are sent: the one that holds as it is, the others as over. An alert that never fired and is over notifies nobody.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from fullcircle.alerting.page import Page
from fullcircle.alerting.route_url import RouteUrl
from fullcircle.alerting.senders.http_post import post
from fullcircle.alerting.senders.words import rfc3339, web_links
from fullcircle.core.records.incidents import Severity

UNTIL = timedelta(days=365)
"""How far ahead the end of a firing alert is set."""


def send(page: Page, route: RouteUrl) -> str:
    """Tell an Alertmanager. `?token=` is sent as a bearer token (RFC 6750), user and password as basic authentication.

    Returns:
        "" when it was accepted, else why not.
    """
    scheme = "https" if route.scheme == "alertmanagers" else "http"
    token = route.get("token")
    return post(
        f"{scheme}://{route.netloc}{route.path.rstrip('/')}/api/v2/alerts",
        json.dumps(alerts(page, datetime.now(UTC))).encode(),
        {"Authorization": f"Bearer {token}"} if token else {},
        login=(route.user, route.password) if route.user else None,
    )


def alerts(page: Page, now: datetime) -> list[dict[str, Any]]:
    """The `postableAlerts` of a page: one a severity, of which at most one fires.

    Args:
        now: by the clock. The time of the data is not compared with it by us, but it is by Alertmanager.
    """
    links = web_links(page)
    annotations = {"summary": page.title, "description": page.body}
    if runbook := links.get("runbook") or page.links.get("runbook"):
        annotations["runbook_url"] = runbook
    starts = min(page.starts, now - timedelta(seconds=1))  # one that ends before it starts is refused
    found = []
    for severity in Severity:
        fires = severity is page.severity and not page.is_over
        alert: dict[str, Any] = {
            "labels": {**labels(page), "severity": severity.value},
            "annotations": annotations,
            "startsAt": rfc3339(starts),
            "endsAt": rfc3339(now + UNTIL if fires else now),
        }
        if url := links.get("report") or links.get("run") or next(iter(links.values()), ""):
            alert["generatorURL"] = url
        found.append(alert)
    return found


def labels(page: Page) -> dict[str, str]:
    """What makes it this alert and no other."""
    name = "".join(word.capitalize() for word in re.split(r"[\W_]+", page.cause))
    return {"alertname": f"Fullcircle{name}", "project": page.project, "cause": page.cause, "incident": page.key}
