"""No page reaches a private or link-local address that the project did not name, whichever library sends it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.records.incidents import WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database

MAY = datetime(2013, 5, 1, tzinfo=UTC)
SECRET = "s" * 32
KINDS = {
    "json": "json://{place}/hook",
    "alertmanager": "alertmanager://{place}",
    "webhook": "webhook+http://{place}/hook?secret=" + SECRET,
    "mail": "smtp://{place}?from=a@example.com&to=b@example.com",
    "apprise mail": "mailto://{place}?from=a@example.com&to=b@example.com&mode=insecure",
}
WEB = ("json", "alertmanager", "webhook")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], None]:
    """Gives a name its addresses: one after the other at each look-up, the last one from then on."""
    real, answers = socket.getaddrinfo, dict[str, list[str]]()

    def looked_up(host: Any, *arguments: Any, **more: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if text in answers:
            told = answers[text]
            host = told.pop(0) if len(told) > 1 else told[0]
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setenv("NO_PROXY", "*")
    return answers.__setitem__


@pytest.fixture
def told(
    db: Database,
    settings: Settings,
    routed: Callable[..., Any],
    incident: Callable[..., Any],
    look: Callable[..., WindowCheck],
) -> Callable[..., tuple[str, ...]]:
    """Reports an incident to a route; returns what failed."""

    def report(route: str, **fields: Any) -> tuple[str, ...]:
        failed: tuple[str, ...] = (
            Dispatcher(db, routed(route, **fields), settings).report(look([incident()], at=MAY)).failed
        )
        return failed

    return report


@every_kind
def test_a_name_that_leads_inside_is_refused_before_anything_is_connected(
    kind: str, receivers: Callable[..., Any], named: Callable[..., None], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers()
    named("hooks.example", ["127.0.0.1"])
    (why,) = told(KINDS[kind].format(place=f"hooks.example:{receiver.port}"))
    assert "its host leads to 127.0.0.1, which is no public address" in why
    assert "allowed_private_hosts" in why
    assert "hooks.example" not in why, "a host may be a secret, too"
    assert receiver.asked == []


@pytest.mark.parametrize("kind", WEB)
def test_a_name_that_leads_inside_and_is_listed_is_reached(
    kind: str, receivers: Callable[..., Any], named: Callable[..., None], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers()
    named("Hooks.example", ["127.0.0.1"])
    named("hooks.example", ["127.0.0.1"])
    route = KINDS[kind].format(place=f"Hooks.example:{receiver.port}")
    assert told(route, allowed_private_hosts=("hooks.EXAMPLE",)) == ()
    assert len(receiver.asked) == 1


@pytest.mark.parametrize("kind", WEB)
def test_a_host_that_is_listed_opens_no_door_to_other_routes(
    kind: str, receivers: Callable[..., Any], named: Callable[..., None], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers()
    named("pager.internal", ["127.0.0.1"])
    named("hooks.example", ["127.0.0.1"])
    assert len(
        told(KINDS[kind].format(place=f"hooks.example:{receiver.port}"), allowed_private_hosts=("pager.internal",))
    )
    assert receiver.asked == []


@pytest.mark.parametrize("kind", WEB)
def test_a_name_that_says_another_address_when_it_is_asked_again_is_refused(
    kind: str, receivers: Callable[..., Any], named: Callable[..., None], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers(address="127.0.0.2")
    named("pager.internal", ["127.0.0.1", "127.0.0.2"])
    route = KINDS[kind].format(place=f"pager.internal:{receiver.port}")
    (why,) = told(route, allowed_private_hosts=("pager.internal",))
    assert "leads to 127.0.0.2" in why
    assert receiver.asked == []


@pytest.mark.parametrize("kind", WEB)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    kind: str, status: int, receivers: Callable[..., Any], told: Callable[..., tuple[str, ...]]
) -> None:
    inside = receivers()
    outside = receivers(lambda asked: (status, {"Location": f"http://127.0.0.1:{inside.port}/latest/meta-data"}))
    assert len(told(KINDS[kind].format(place=f"127.0.0.1:{outside.port}"))) == 1
    assert len(outside.asked) == 1
    assert inside.asked == []


def test_a_redirect_that_a_route_wants_to_be_followed_leads_no_further_inside(
    receivers: Callable[..., Any], told: Callable[..., tuple[str, ...]]
) -> None:
    inside = receivers(address="127.0.0.2")
    outside = receivers(lambda asked: (307, {"Location": f"http://127.0.0.2:{inside.port}/latest/meta-data"}))
    (why,) = told(f"json://127.0.0.1:{outside.port}/hook?redirect=yes")
    assert "leads to 127.0.0.2" in why
    assert (len(outside.asked), inside.asked) == (1, [])


PROGRAM = """
    import sys
    from fullcircle.alerting.page import Page
    from fullcircle.alerting.routes import deliver
    from fullcircle.core.records.incidents import Severity
    from datetime import UTC, datetime

    now = datetime(2013, 5, 1, tzinfo=UTC)
    about = {"key": "k", "kind": "open", "project": "p", "cause": "drift", "starts": now, "seen": now}
    page = Page(title="t", body="b", severity=Severity.INFO, **about)
    for route in sys.stdin.read().split():
        print(deliver(page, route))
"""


def test_where_clouds_keep_credentials_nothing_is_sent_even_if_a_route_says_so() -> None:
    """In a process of its own: in this one, a guard of the tests sees the connection first."""
    places = ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166")
    by_apprise = ("json", "apprise mail")  # which makes no address of [...]
    pairs = [(kind, place) for kind in KINDS for place in places if "[" not in place or kind not in by_apprise]
    routes = "\n".join(KINDS[kind].format(place=f"{place}:80") for kind, place in pairs)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    done = subprocess.run(command, input=routes, capture_output=True, text=True, env={**os.environ, "NO_PROXY": "*"})
    assert done.stderr == ""
    said = dict(zip(pairs, done.stdout.splitlines(), strict=True))
    assert {pair: why for pair, why in said.items() if "which is no public address" not in why} == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_is_written_out_in_the_route_is_meant(
    host: str, receivers: Callable[..., Any], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers()
    assert told(KINDS["webhook"].format(place=f"{host}:{receiver.port}")) == ()
    assert len(receiver.asked) == 1


def test_what_the_rest_of_the_program_connects_to_meanwhile_is_its_own_affair(
    receivers: Callable[..., Any], named: Callable[..., None], told: Callable[..., tuple[str, ...]]
) -> None:
    receiver = receivers()
    named("hooks.example", ["127.0.0.1"])
    assert len(told(KINDS["json"].format(place=f"hooks.example:{receiver.port}"))) == 1
    socket.create_connection(("hooks.example", receiver.port)).close()
