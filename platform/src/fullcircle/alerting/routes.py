"""Routes: URLs whose scheme says who takes a page. They hold secrets: they are named by a digest, and nothing of them
reaches a log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

from fullcircle.alerting.connection_guard import allowed_for, guarded
from fullcircle.alerting.page import Page
from fullcircle.alerting.route_url import RouteUrl, hosts_in
from fullcircle.alerting.senders import alertmanager, apprise_url, mail, opsgenie, pagerduty, signed_webhook

SENDERS: Mapping[str, Callable[[Page, RouteUrl], str]] = {
    "alertmanager": alertmanager.send,
    "alertmanagers": alertmanager.send,
    "pagerduty": pagerduty.send,
    "opsgenie": opsgenie.send,
    "webhook+http": signed_webhook.send,
    "webhook+https": signed_webhook.send,
    "smtp": mail.send,
    "smtps": mail.send,
}
"""Scheme -> what sends by it; every other scheme is Apprise's."""
FORGETFUL = frozenset({"alertmanager", "alertmanagers"})
"""Schemes of receivers that lose what they were told when they are restarted, and are to be told again."""


_NO_SECRETS = frozenset({"http", "https", "region", "secret", "from"})
"""Words that stand in routes and in reasons."""


def scheme_of(url: str) -> str:
    """The scheme of a route's URL, in lower case; `unknown` where it has none."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}(?=://)", url)
    return found.group().lower() if found else "unknown"


def route_name(url: str) -> str:
    """A name that stays the same for the same URL and says nothing of it but its scheme: `json-1f2e3d4c5b6a`."""
    return f"{scheme_of(url)}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def scrub(text: str, url: str, secrets: Iterable[str] = ()) -> str:
    """The text in one line, without any part of the URL that could be a secret (all of it but its scheme).

    Args:
        secrets: what else must not be in it: what the URL names in the environment.
    """
    rest = url.partition("://")[2] or url
    parts = {rest, *re.split(r"[/:@?&=#,]+", rest)}
    parts |= {unquote(part) for part in parts}  # Apprise speaks of them decoded
    for part in sorted({*parts, *secrets}, key=len, reverse=True):
        if len(part) >= 3 and part not in _NO_SECRETS:
            text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
    return " ".join(text.split())[:300]


def deliver(page: Page, url: str, private_hosts: Iterable[str] = ()) -> str:
    """Send a page. Returns "" when it was accepted, else why not, scrubbed. Never raises.

    Args:
        private_hosts: hosts that it may be sent to although they are not of the public internet.
    """
    secrets: tuple[str, ...] = ()
    refused: list[str] = []
    try:
        sender = SENDERS.get(scheme_of(url))
        route = RouteUrl.parse(url) if sender else None
        secrets = route.secrets if route else ()
        hosts = hosts_in(url) | ({route.host.lower()} if route else set())
        with guarded(allowed_for(hosts, private_hosts), refused):
            reason = sender(page, route) if sender and route else apprise_url.send(page, url)
    except Exception as error:  # noqa: BLE001 - whatever a sender raises, the loop goes on
        reason = f"{type(error).__name__}: {error}"
    if reason and refused:  # a library may say no more than that there was no connection
        return _not_public(refused[-1])
    return scrub(reason, url, secrets)


def _not_public(address: str) -> str:
    return (
        f"its host leads to {address}, which is no public address; where that is meant, name the host in "
        "Project(allowed_private_hosts=...)"
    )
