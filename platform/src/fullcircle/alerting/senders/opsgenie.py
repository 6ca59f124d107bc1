"""Opsgenie and what speaks like it: `opsgenie://API_KEY`, or `opsgenie://env:NAME`; `?region=eu`.

Source: Opsgenie, "Alert API" (POST /v2/alerts, /v2/alerts/{alias}/close, /acknowledge). Requests with the same alias
are about one alert. `?api=` names another service: Jira Service Management's is
`https://api.atlassian.com/jsm/ops/integration`.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

from fullcircle.alerting.page import Page
from fullcircle.alerting.route_url import RouteUrl
from fullcircle.alerting.senders.http_post import post
from fullcircle.alerting.senders.words import cut, evidence, web_links
from fullcircle.core.records.incidents import Severity

APIS = {"us": "https://api.opsgenie.com", "eu": "https://api.eu.opsgenie.com"}
MOST_MESSAGE, MOST_DESCRIPTION, MOST_NOTE, MOST_TAG = 130, 15_000, 25_000, 50
_PRIORITIES = {Severity.CRITICAL: "P1", Severity.WARNING: "P3", Severity.INFO: "P5"}
_RESPONDERS = {"#": ("team", "name"), "@": ("user", "username"), "*": ("schedule", "name"), "^": ("escalation", "name")}


def send(page: Page, route: RouteUrl) -> str:
    """Tell Opsgenie. The API key is the host; the path may name responders as Apprise has them: `/%23team/@user`.

    Returns:
        "" when it was accepted, else why not.
    """
    api = route.get("api") or APIS.get(route.get("region", "us"))
    if api is None:
        return f"region must be one of {', '.join(APIS)}"
    place, body = request(page, responders(route.path))
    headers = {"Authorization": f"GenieKey {route.host}"}
    return post(f"{api.rstrip('/')}{place}", json.dumps(body).encode(), headers)


def request(page: Page, responding: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
    """(path, body) of a page: an alert is made, acknowledged or closed, by its alias, the incident's key."""
    if page.kind in ("resolved", "acknowledged"):
        done = "close" if page.is_over else "acknowledge"
        note = {"source": "fullcircle", "note": cut(f"{page.title}\n{page.body}", MOST_NOTE)}
        return f"/v2/alerts/{quote(page.key, safe='')}/{done}?identifierType=alias", note
    made: dict[str, Any] = {
        "message": cut(page.title, MOST_MESSAGE),
        "alias": page.key,
        "description": cut(page.body, MOST_DESCRIPTION),
        "priority": _PRIORITIES[page.severity],
        "entity": page.project,
        "source": "fullcircle",
        "tags": ["fullcircle", cut(page.project, MOST_TAG), cut(page.cause, MOST_TAG)],
        "details": {**evidence(page), **web_links(page)},
    }
    return "/v2/alerts", made | ({"responders": responding} if responding else {})


def responders(path: str) -> list[dict[str, str]]:
    """Who is to respond, by the parts of a path: `#` a team, `@` a user, `*` a schedule, `^` an escalation."""
    named = [unquote(part) for part in path.split("/") if part]
    found = [(_RESPONDERS.get(name[0], _RESPONDERS["#"]), name.lstrip("#@*^")) for name in named]
    return [{"type": kind, field: name} for (kind, field), name in found]
