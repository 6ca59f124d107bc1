"""Mail, by SMTP (RFC 5321): `smtps://user:password@host?from=A&to=B`, or `smtp://`, with TLS where it is offered.

Mails about one incident are one conversation (RFC 5322, section 3.6.4): the page that opens it is its first message,
and what follows refers to that one. A mail that is sent again has the same Message-ID. Apprise's `mailto://` stays its
own.
"""

from __future__ import annotations

import smtplib
import ssl
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from fullcircle.alerting.page import Page
from fullcircle.alerting.route_url import RouteInvalid, RouteUrl

TIMEOUT_S = 15.0
_PORTS = {"smtp": 587, "smtps": 465}


def send(page: Page, route: RouteUrl) -> str:
    """Hand a mail to the route's server. Each `to` in the query gets it; a login is only ever sent through TLS.

    Returns:
        "" when the server took it for at least one of them, else why not.
    """
    sender, recipients = route.get("from"), route.all("to")
    if not sender or not recipients:
        return "it names no sender or nobody to send to: add ?from=ADDRESS&to=ADDRESS"
    mail = message(page, sender=sender, recipients=recipients, at=datetime.now(UTC))
    with _connected(route) as server:
        if route.user:
            server.login(route.user, route.password)
        refused = server.send_message(mail)
    return f"the server refused {len(refused)} of {len(recipients)} recipients" if refused else ""


def message(page: Page, *, sender: str, recipients: Sequence[str], at: datetime) -> EmailMessage:
    """The mail of a page.

    Raises:
        RouteInvalid: an address cannot stand in a header.
    """
    domain = sender.rpartition("@")[2]
    first = f"<{uuid.uuid5(uuid.NAMESPACE_OID, f'{page.key} {page.starts}')}@{domain}>"
    mail = EmailMessage()
    try:
        mail["From"], mail["To"] = sender, ", ".join(recipients)
    except ValueError:
        raise RouteInvalid("its from or to is no mail address") from None
    mail["Subject"] = page.title
    mail["Date"] = format_datetime(at)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    if page.kind == "open":
        mail["Message-ID"] = first
    else:
        mail["Message-ID"] = f"<{page.id}@{domain}>"
        mail["In-Reply-To"] = mail["References"] = first
    mail.set_content(page.body)
    return mail


def _connected(route: RouteUrl) -> smtplib.SMTP:
    host, port = route.host.strip("[]"), route.port or _PORTS[route.scheme]
    secure = ssl.create_default_context()
    if route.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=secure)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    try:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=secure)
        elif route.user:
            raise RouteInvalid("its server offers no TLS, and a login is not sent without")
    except BaseException:
        server.close()
        raise
    return server
