"""PagerDuty, by its Events API v2: `pagerduty://ROUTING_KEY`, or `pagerduty://env:NAME`; `?region=eu`.

Source: PagerDuty developer documentation, "Send an Alert Event" (POST /v2/enqueue). Events with the same deduplication
key are about one alert; `resolve` ends it. `?api=https://...` names another service that takes the same events.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fullcircle.alerting.page import Kind, Page
from fullcircle.alerting.route_url import RouteUrl
from fullcircle.alerting.senders.http_post import post
from fullcircle.alerting.senders.words import cut, evidence, rfc3339, web_links

APIS = {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
MOST_KEY, MOST_SUMMARY = 255, 1024
_ACTIONS: dict[Kind, str] = {
    "open": "trigger",
    "raised": "trigger",
    "escalated": "trigger",
    "acknowledged": "acknowledge",
    "resolved": "resolve",
}


def send(page: Page, route: RouteUrl) -> str:
    """Tell PagerDuty. The routing key is the host, or the user where there is one, as Apprise has it.

    Returns:
        "" when it was accepted, else why not.
    """
    api = route.get("api") or APIS.get(route.get("region", "us"))
    if api is None:
        return f"region must be one of {', '.join(APIS)}"
    made = event(page, routing_key=route.user or route.host)
    return post(f"{api.rstrip('/')}/v2/enqueue", json.dumps(made).encode(), {})


def event(page: Page, *, routing_key: str) -> dict[str, Any]:
    """The event of a page: `trigger`, `acknowledge` or `resolve`."""
    action = _ACTIONS[page.kind]
    made: dict[str, Any] = {"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key(page.key)}
    if action != "trigger":
        return made
    return made | {
        "payload": {
            "summary": cut(page.title, MOST_SUMMARY),
            "source": page.project,
            "severity": page.severity.value,
            "timestamp": rfc3339(page.starts),
            "component": page.project,
            "class": page.cause,
            "custom_details": {**evidence(page), "page": page.body},
        },
        "client": "fullcircle",
        "links": [{"href": where, "text": name} for name, where in web_links(page).items()],
    }


def dedup_key(key: str) -> str:
    """The incident's key where PagerDuty takes it, else its beginning with a digest of all of it."""
    if len(key) <= MOST_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: MOST_KEY - len(digest) - 1]}:{digest}"
