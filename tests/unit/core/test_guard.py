"""The guard before the three servers: which Host, which Origin, whose token; and where a server may listen at all."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.security.access import LOOPBACK_NAMES, Access, is_loopback, names_of, reached_at, require_safe
from fullcircle.core.security.guard import Guard
from fullcircle.core.settings import Settings

TOKEN = "a-token-that-is-long-enough-for-it-to-be-one"
OUTER = Access(host="0.0.0.0", names=("models.example", "10.1.0.0/16", "fd00::/8"), token=TOKEN)


def ask(access: Access, method: str = "GET", kind: str = "http", local: str = "127.0.0.1", **headers: Any) -> str:
    """What becomes of a request: "inside" when the guarded application saw it, else the status, or that it was closed.

    A header that is a list is sent once for each value; of `origin`, what the application saw follows after a blank.
    """
    seen: list[str] = []
    sent = {"host": "localhost:80", **headers}

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append("inside" + "".join(f" {value.decode()}" for key, value in scope["headers"] if key == b"origin"))

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            assert json.loads(message["body"])["error"] == json.loads(message["body"])["message"] != ""
        else:
            seen.append(str(message.get("status", message["type"])))

    pairs = [(key, each) for key, value in sent.items() for each in (value if isinstance(value, list) else [value])]
    scope = {
        "type": kind,
        "path": headers.pop("path", "/"),
        "server": (local, 80),
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in pairs],
        **({"method": method} if kind == "http" else {}),
    }
    asyncio.run(Guard(inside, access, ("/live",))(scope, receive, send))
    assert len(seen) == 1
    return seen[0]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:4200", "[::1]", "[0:0:0:0:0:0:0:1]:80"]
)
def test_its_own_names_lead_inside(host: str) -> None:
    assert ask(Access(), host=host) == "inside"


@pytest.mark.parametrize(
    "host",
    [
        *([], "", ["127.0.0.1", "localhost"], ["127.0.0.1", "evil.example"]),
        *("127.0.0.1.evil.example", "evil.example:127", "10.evil.example", "127.0.0.1.evil", "localhost.evil.example"),
        *("localhost.", "127.0.0.1.", "localhost:", "localhost:80:80", "localhost:eighty", "localhost:99999"),
        *("localhost:0", "localhost:+80", "localhost:\xb2", "[::1", "::1", "[::1]evil.example", "[localhost]"),
        *("me@localhost", "localhost@evil.example", "http://localhost", "localhost/", "localhost ", "127.1", "0.0.0.0"),
        *("0x7f.0.0.1", "2130706433", "127.0.0.1,evil.example", "10.0.0.1", "[::]", "[fe80::1]", "*"),
    ],
)
def test_other_names_are_refused_and_so_is_none_at_all(host: Any) -> None:
    assert ask(Access(), host=host) == "400"


@given(st.text(st.characters(max_codepoint=255)))
def test_only_the_exact_names_ever_lead_inside(host: str) -> None:
    name, colon, port = host.rpartition(":")
    has_port = bool(colon) and port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    bare = (name if has_port else host).lower()
    exact = {each if ":" not in each else f"[{each}]" for each in LOOPBACK_NAMES}
    assert bare not in exact or ask(Access(), host=host) == "inside"
    assert bare in exact or bare.startswith("[") or ask(Access(), host=host) == "400"


@pytest.mark.parametrize(
    ("host", "local", "becomes"),
    [
        ("models.example", "10.1.2.3", "inside"),
        ("MODELS.example:8080", "10.1.2.3", "inside"),
        ("a.models.example", "10.1.2.3", "400"),
        ("models.example.evil.example", "10.1.2.3", "400"),
        ("10.1.255.9", "10.1.2.3", "inside"),
        ("10.2.0.1", "10.1.2.3", "400"),
        ("10.1.evil.example", "10.1.2.3", "400"),
        ("10.1.0.0/16", "10.1.2.3", "400"),
        ("192.0.2.7:80", "192.0.2.7", "inside"),  # our own end of this connection: no name leads anybody there
        ("192.0.2.7:80", "::ffff:192.0.2.7", "inside"),
        ("192.0.2.8:80", "192.0.2.7", "400"),
        ("[fd12::1]", "10.1.2.3", "inside"),
        (socket.gethostname(), "10.1.2.3", "inside"),
    ],
)
def test_on_an_outer_address_names_are_exact_and_networks_are_networks(host: str, local: str, becomes: str) -> None:
    assert ask(OUTER, host=host, local=local, authorization=f"Bearer {TOKEN}") == becomes


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "MKCOL", "post"])
@pytest.mark.parametrize(
    "origin",
    [
        *("null", "https://evil.example", "http://localhost.evil.example", "http://127.0.0.1", "http://localhost:81"),
        *(
            "http://evil.example@localhost",
            "http://localhost@evil.example",
            "file://",
            "",
            "localhost",
            "ftp://localhost",
        ),
        *("http://localhost/", "http://localhost/evil", "//localhost", "http://[", ["http://localhost", "http://evil"]),
    ],
)
def test_a_change_that_a_page_of_another_origin_asks_for_is_refused(method: str, origin: Any) -> None:
    assert ask(Access(), method, origin=origin) == "403"
    assert ask(OUTER, method, origin=origin, authorization=f"Bearer {TOKEN}") == "403"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost:80"),
        ("http://localhost", "localhost"),
        ("http://localhost:8080", "localhost:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("https://localhost", "localhost"),  # a proxy before us speaks TLS
    ],
)
def test_its_own_pages_may_change_things_and_the_application_sees_no_origin(origin: str, host: str) -> None:
    assert ask(Access(), "POST", origin=origin, host=host) == "inside"
    assert ask(Access(), "POST", host=host) == "inside"  # no browser


def test_reading_from_another_origin_is_the_applications_own_matter() -> None:
    assert ask(Access(), "GET", origin="https://evil.example") == "inside https://evil.example"


def test_a_websocket_of_another_site_or_without_the_token_is_closed_before_it_opens() -> None:
    assert ask(Access(), kind="websocket") == "inside"
    assert ask(Access(), kind="websocket", host="evil.example") == "websocket.close"
    assert ask(Access(), kind="websocket", origin="https://evil.example") == "websocket.close"
    assert ask(OUTER, kind="websocket") == "websocket.close"
    assert ask(OUTER, kind="websocket", authorization=f"Bearer {TOKEN}") == "inside"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "given",
    [
        *([], "", "Bearer", "Bearer ", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}"),
        *(f"Token {TOKEN}", f"Bearer {TOKEN}\xe9", basic("anybody"), basic(f"{TOKEN}:"), basic("x:wrong"), "Basic !"),
        [f"Bearer {TOKEN}", "Bearer another"],
    ],
)
def test_without_the_token_nothing_but_the_open_list_answers(given: Any) -> None:
    assert ask(OUTER, authorization=given) == "401"
    assert ask(OUTER, "POST", authorization=given) == "401"
    assert ask(OUTER, "OPTIONS", authorization=given) == "401"


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(f"anybody:{TOKEN}")])
def test_the_token_is_taken_from_a_program_and_from_a_browser(given: str) -> None:
    assert ask(OUTER, "POST", authorization=given) == "inside"


@given(st.text(st.characters(max_codepoint=255)))
def test_no_other_header_ever_has_the_token(text: str) -> None:
    assert not OUTER.lets_in(text)
    assert not Access().lets_in(text)


def test_the_open_list_is_exact_and_only_for_reading() -> None:
    assert ask(OUTER, path="/live") == "inside"
    assert ask(OUTER, "HEAD", path="/live") == "inside"
    assert ask(OUTER, "POST", path="/live") == "401"
    assert [ask(OUTER, path=path) for path in ("/live/", "//live", "/LIVE", "/live/../x", "/x/live")] == ["401"] * 5


def test_without_a_token_what_comes_from_outside_is_refused_however_the_server_was_started() -> None:
    assert ask(Access(host="10.0.0.5"), host="10.0.0.5", local="10.0.0.5") == "403"
    assert ask(Access(host="10.0.0.5", insecure=True), host="10.0.0.5", local="10.0.0.5") == "inside"
    assert ask(Access(host="::"), local="::ffff:127.0.0.1") == "inside"
    assert ask(Access(host="::"), host="[fe80::5]", local="fe80::5%eth0") == "403"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1", "127.1"])
def test_loopback_needs_no_token(host: str) -> None:
    require_safe(Access(host=host), "it")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "192.0.2.7", "::ffff:0.0.0.0", "0x0", "2001:db8::1"])
def test_every_other_address_needs_a_token_or_a_word(host: str) -> None:
    with pytest.raises(UsageError, match=r"would answer everybody who reaches .*FULLCIRCLE_TOKEN"):
        require_safe(Access(host=host), "it")
    require_safe(Access(host=host, token=TOKEN), "it")
    require_safe(Access(host=host, insecure=True), "it")
    with pytest.raises(UsageError, match="it has no access control"):
        require_safe(Access(host=host, token=TOKEN), "it", knows_tokens=False)


def test_a_name_that_means_nothing_is_said_to() -> None:
    with pytest.raises(ServiceUnavailable, match=r"cannot listen on no\.such\.invalid"):
        is_loopback("no.such.invalid")


@pytest.mark.parametrize(
    "token", ["short", "x" * 31, "with a blank in it and long enough for all", "\xe9" * 40, "x" * 40 + "\n"]
)
def test_a_token_that_is_easily_guessed_is_refused_and_never_shown(token: str) -> None:
    with pytest.raises(UsageError, match="FULLCIRCLE_TOKEN must have 32 or more") as refused:
        Settings.from_env({"FULLCIRCLE_TOKEN": token})
    assert token not in str(refused.value)
    assert TOKEN not in repr(Settings.from_env({"FULLCIRCLE_TOKEN": TOKEN}))
    assert TOKEN not in repr(Settings.from_env({"FULLCIRCLE_TOKEN": TOKEN}).access())


@pytest.mark.parametrize("text", ["*", "*.example", "models.example:80", "http://models.example", "a b", "10.0.0.0/33"])
def test_allowed_hosts_are_no_patterns(text: str) -> None:
    with pytest.raises(UsageError, match="FULLCIRCLE_ALLOWED_HOSTS"):
        names_of(text)


def test_an_address_to_listen_on_is_no_address_to_ask() -> None:
    asked = [reached_at(host, 1) for host in ("0.0.0.0", "::", "::1", "localhost", "192.0.2.7")]
    assert asked == ["127.0.0.1:1", "[::1]:1", "[::1]:1", "localhost:1", "192.0.2.7:1"]


def test_a_link_for_people_names_the_machine_where_a_server_is_on_all_its_addresses() -> None:
    links = [Settings.from_env({"FULLCIRCLE_HOST": host}).mlflow_url for host in ("0.0.0.0", "::1", "127.0.0.1")]
    assert links == [f"http://{socket.gethostname()}:5000", "http://[::1]:5000", "http://127.0.0.1:5000"]
