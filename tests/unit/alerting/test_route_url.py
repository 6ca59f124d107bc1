"""A route's URL in its parts, with secrets from the environment in their places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.alerting.route_url import RouteInvalid, RouteUrl, hosts_in

SET = {"KEY": "k3y/of:it", "WORD": "w@rd", "HOST": "alerts.internal"}


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("pagerduty://AbC123", {"host": "AbC123"}),
        ("pagerduty://env:KEY", {"host": "k3y/of:it"}),
        ("alertmanagers://h.example/prefix/", {"host": "h.example", "path": "/prefix/"}),
        ("alertmanager://h.example:9093", {"host": "h.example", "port": 9093}),
        ("alertmanager://[::1]:9093/x", {"host": "[::1]", "port": 9093, "path": "/x"}),
        ("smtp://alice:env:WORD@h.example:25", {"user": "alice", "password": "w@rd", "host": "h.example", "port": 25}),
        ("smtp://env:KEY:env:WORD@env:HOST", {"user": "k3y/of:it", "password": "w@rd", "host": "alerts.internal"}),
        ("smtp://a%40b:p%3Aq@h", {"user": "a@b", "password": "p:q", "host": "h"}),
    ],
)
def test_the_parts_of_a_route(url: str, parts: dict[str, object]) -> None:
    found = RouteUrl.parse(url, SET)
    default: dict[str, object] = {"user": "", "password": "", "port": None, "path": ""}
    assert {name: getattr(found, name) for name in {**default, **parts}} == {**default, **parts}


def test_parameters_keep_their_order_and_may_come_several_times() -> None:
    found = RouteUrl.parse("webhook+https://h/?a=1&secret=env:KEY&b=%26&secret=env:WORD", SET)
    assert found.all("secret") == ("k3y/of:it", "w@rd")
    assert found.secrets == ("k3y/of:it", "w@rd")
    assert found.query_without("secret") == "a=1&b=%26"
    assert (found.get("a"), found.get("c", "d")) == ("1", "d")


def test_secrets_are_not_in_what_is_printed_of_a_route_by_their_list() -> None:
    assert "secrets" not in repr(RouteUrl.parse("pagerduty://env:KEY", SET))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "it is no URL"),
        ("pagerduty://env:NOBODY", "the environment variable NOBODY is not set"),
        ("alertmanager://h:99999", "its host or port is none"),
        ("alertmanager://h:x", "its host or port is none"),
    ],
)
def test_a_route_that_cannot_be_used_says_why_and_nothing_of_itself(url: str, why: str) -> None:
    with pytest.raises(RouteInvalid, match=why):
        RouteUrl.parse(url, SET)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("json://user:pass@10.1.2.3:80/x", "10.1.2.3"),
        ("json://[::1]:80/x", "::1"),
        ("mailtos://u:p@example.com?smtp=Mail.internal&to=a@b", "mail.internal"),
        ("tgram://123:abc/456", "123:abc"),
    ],
)
def test_what_may_be_a_host_is_found_wherever_it_stands(url: str, host: str) -> None:
    assert host in hosts_in(url)


@given(url=st.text(max_size=60))
def test_any_text_has_hosts_or_none(url: str) -> None:
    assert all(host == host.lower() for host in hosts_in(url))
