"""Routes: Apprise URLs, which hold secrets. They are named by a digest, and nothing of them reaches a log."""

from __future__ import annotations

import hashlib
import logging
import re
from urllib.parse import unquote

from fullcircle.alerting.page import Page
from fullcircle.core.records.incidents import Severity

# Apprise speaks of hosts and tokens in its own log.
_LOGGER = "apprise"
_NOTIFY = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


def route_name(url: str) -> str:
    """A name that stays the same for the same URL and says nothing of it but its scheme: `json-1f2e3d4c5b6a`."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}(?=://)", url)
    return f"{scheme.group().lower() if scheme else 'unknown'}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def scrub(text: str, url: str) -> str:
    """The text in one line, without any part of the URL that could be a secret (all of it but its scheme)."""
    rest = url.partition("://")[2] or url
    parts = {rest, *re.split(r"[/:@?&=#,]+", rest)}
    parts |= {unquote(part) for part in parts}  # Apprise speaks of them decoded
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= 3:
            text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
    return " ".join(text.split())[:300]


def deliver(page: Page, url: str) -> str:
    """Send a page through Apprise. Returns "" when it was accepted, else why not, scrubbed. Never raises."""
    try:
        import apprise

        route = apprise.Apprise()
        logger = logging.getLogger(_LOGGER)
        propagate, logger.propagate = logger.propagate, False
        try:
            with apprise.LogCapture(level=logging.WARNING) as said:  # type: ignore[no-untyped-call]
                kind = "success" if page.is_over else _NOTIFY[page.severity]
                accepted = route.add(url) and route.notify(
                    title=page.title, body=page.body, notify_type=kind, body_format="text"
                )
                reason = said.getvalue()
        finally:
            logger.propagate = propagate
    except Exception as error:  # noqa: BLE001 - whatever a route's plugin raises, the loop goes on
        accepted, reason = False, f"{type(error).__name__}: {error}"
    return "" if accepted else scrub(_said(reason), url) or "the route did not accept it"


def _said(log: str) -> str:
    """Apprise's messages without its time stamps."""
    return " ".join(re.sub(r"^[\d\-: ,]+ - \w+ - ", "", line) for line in log.splitlines())
