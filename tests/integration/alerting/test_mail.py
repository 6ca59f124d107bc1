"""Mail that a real SMTP server (aiosmtpd) takes: what fires and what is over are one conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.records.incidents import WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.store.database import Database

MAY = datetime(2013, 5, 1, tzinfo=UTC)


class Mailbox:
    """Keeps the mails that aiosmtpd hands over, with their envelopes."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.port = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        import email
        from email import policy

        made = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(made, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), made))
        return "250 kept"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    pytest.importorskip("aiosmtpd", reason="needs the extra 'dev'")
    from aiosmtpd.controller import Controller

    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port("127.0.0.1"))
    controller.start()
    mailbox.port = controller.port
    yield mailbox
    controller.stop()


def test_a_mail_opens_a_conversation_and_the_next_one_ends_it(
    mailbox: Mailbox,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    route = f"smtp://127.0.0.1:{mailbox.port}?from=circle@example.com&to=oncall@example.com&to=b@example.com"
    dispatcher = Dispatcher(db, routed(route), settings)
    assert dispatcher.report(look([incident()], at=MAY)).failed == ()
    assert dispatcher.report(look([], at=MAY + timedelta(days=30))).failed == ()
    (to, opened), (_, over) = mailbox.mails
    assert to == ["oncall@example.com", "b@example.com"]
    assert opened["Subject"] == "[flights] warning: drift: 7 columns"
    assert over["Subject"] == "[flights] resolved: drift: 7 columns"
    assert "- drifted columns: 7 of 20" in opened.get_content()
    assert "Nobody has to do anything." in over.get_content()
    assert over["In-Reply-To"] == over["References"] == opened["Message-ID"]
    assert over["Message-ID"] != opened["Message-ID"]
    assert opened["Auto-Submitted"] == "auto-generated"


def test_apprise_mails_by_its_own_scheme_too(
    mailbox: Mailbox,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    route = f"mailto://127.0.0.1:{mailbox.port}?from=circle@example.com&to=oncall@example.com&mode=insecure"
    dispatcher = Dispatcher(db, routed(route), settings)
    assert dispatcher.report(look([incident()], at=MAY)).failed == ()
    assert dispatcher.report(look([], at=MAY + timedelta(days=30))).failed == ()
    assert [mail["Subject"] for _, mail in mailbox.mails] == [
        "[flights] warning: drift: 7 columns",
        "[flights] resolved: drift: 7 columns",
    ]


def test_a_password_is_not_sent_to_a_server_without_tls(
    mailbox: Mailbox,
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> None:
    route = f"smtp://circle:hunter2@127.0.0.1:{mailbox.port}?from=circle@example.com&to=oncall@example.com"
    told = Dispatcher(db, routed(route), settings).report(look([incident()], at=MAY))
    (why,) = told.failed
    assert "its server offers no TLS, and a login is not sent without" in why
    assert "hunter2" not in why
    assert mailbox.mails == []
