"""What several receivers are told of a page in the same words: evidence, links and times. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from fullcircle.alerting.page import Page
from fullcircle.core.security.untrusted import chat, safe_link


def evidence(page: Page) -> dict[str, str]:
    """The evidence, harmless to a chat that a receiver may pass it on to."""
    return {chat(name): chat(value) for name, value in page.details.items()}


def web_links(page: Page) -> dict[str, str]:
    """The links that a browser elsewhere can open: addresses of the web, and no file or path of this machine."""
    return {
        chat(name): where
        for name, where in page.links.items()
        if safe_link(where) is not None and urlsplit(where).scheme in ("http", "https") and urlsplit(where).netloc
    }


def rfc3339(time: datetime) -> str:
    """The time in UTC, as RFC 3339 writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def cut(text: str, most: int) -> str:
    """The text, its end left out where the receiver takes no more characters than that."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
