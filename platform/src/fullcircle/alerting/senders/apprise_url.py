"""All other routes: chats, mail and much more, by Apprise, which keeps no state of an incident."""

from __future__ import annotations

import logging
import re

from fullcircle.alerting.page import Page
from fullcircle.core.records.incidents import Severity

# Apprise speaks of hosts and tokens in its own log.
_LOGGER = "apprise"
_NOTIFY = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


def send(page: Page, url: str) -> str:
    """Send a page through Apprise. A redirect is not followed, unless the route says `redirect=yes` itself.

    Returns:
        "" when it was accepted, else why not, in Apprise's own words, which may quote the route.
    """
    import apprise

    route = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
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
    return "" if accepted else _said(reason) or "the route did not accept it"


def _said(log: str) -> str:
    """Apprise's messages without its time stamps."""
    return " ".join(re.sub(r"^[\d\-: ,]+ - \w+ - ", "", line) for line in log.splitlines())
