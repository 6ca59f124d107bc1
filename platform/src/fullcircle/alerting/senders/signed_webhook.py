"""Webhooks of any receiver: `webhook+https://host/path?secret=env:NAME` (`webhook+http://` without TLS).

The body is a CloudEvent (CloudEvents 1.0.2, JSON event format, structured mode), signed by HMAC-SHA256 (RFC 2104) in
the headers of Standard Webhooks 1.0.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`), for which there are
libraries that verify it. The id is the same whenever a page is sent again, so that a receiver can leave a copy out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fullcircle.alerting.page import Kind, Page
from fullcircle.alerting.route_url import RouteInvalid, RouteUrl
from fullcircle.alerting.senders.http_post import post
from fullcircle.alerting.senders.words import evidence, rfc3339, web_links

MEDIA_TYPE = "application/cloudevents+json"
LEAST_SECRET = 24
"""Bytes of a secret, as Standard Webhooks asks for."""
_TYPES: dict[Kind, str] = {
    "open": "opened",
    "raised": "raised",
    "acknowledged": "acknowledged",
    "escalated": "escalated",
    "resolved": "resolved",
}


def send(page: Page, route: RouteUrl) -> str:
    """Tell a webhook. Each `secret` in the query signs once, so that a secret can be changed without a gap.

    Returns:
        "" when it was accepted, else why not.
    """
    secrets = [secret_bytes(text) for text in route.all("secret")]
    if not secrets:
        return "it has no secret to sign with: add ?secret=env:NAME"
    body = json.dumps(cloud_event(page)).encode()
    query = route.query_without("secret")
    scheme = route.scheme.removeprefix("webhook+")
    return post(
        f"{scheme}://{route.netloc}{route.path or '/'}{'?' if query else ''}{query}",
        body,
        signed(page.id, datetime.now(UTC), body, secrets),
        login=(route.user, route.password) if route.user else None,
        kind=MEDIA_TYPE,
    )


def cloud_event(page: Page) -> dict[str, Any]:
    """The event of a page, of type `fullcircle.incident.opened`, `.acknowledged`, `.escalated` or `.resolved`."""
    return {
        "specversion": "1.0",
        "id": page.id,
        "source": f"/fullcircle/{quote(page.project)}",
        "type": f"fullcircle.incident.{_TYPES[page.kind]}",
        "subject": page.key,
        "time": rfc3339(page.ends or page.seen),
        "datacontenttype": "application/json",
        "data": {
            "key": page.key,
            "project": page.project,
            "cause": page.cause,
            "severity": page.severity.value,
            "title": page.title,
            "body": page.body,
            "starts": rfc3339(page.starts),
            "seen": rfc3339(page.seen),
            "ends": rfc3339(page.ends) if page.ends else None,
            "evidence": evidence(page),
            "links": web_links(page),
        },
    }


def signed(number: str, at: datetime, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of Standard Webhooks: the HMAC-SHA256 of `id.timestamp.body`, by each of the secrets.

    Args:
        at: of this try, by the clock; a receiver refuses old ones, so that nobody can send a copy of it later.
    """
    seconds = str(int(at.timestamp()))
    content = f"{number}.{seconds}.".encode() + body
    macs = [base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode() for secret in secrets]
    signatures = " ".join(f"v1,{mac}" for mac in macs)
    return {"webhook-id": number, "webhook-timestamp": seconds, "webhook-signature": signatures}


def secret_bytes(text: str) -> bytes:
    """The secret's bytes: of `whsec_...` what is encoded there in base64, else the text's own.

    Raises:
        RouteInvalid: it is too short to sign with, or not the base64 that it claims to be.
    """
    try:
        found = base64.b64decode(text.removeprefix("whsec_"), validate=True) if text[:6] == "whsec_" else text.encode()
    except binascii.Error:
        raise RouteInvalid("its secret begins with whsec_ and is not base64 after that") from None
    if len(found) < LEAST_SECRET:
        raise RouteInvalid(f"its secret has fewer than {LEAST_SECRET} bytes")
    return found
