"""Which addresses are of the public internet, and what a connection that may not be made does."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.alerting.connection_guard import Allowed, allowed_for, guarded, is_public

INSIDE = (
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1"),
    *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1"),
)
OUTSIDE = ("8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808")


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_reserved_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_anybody_may_have_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(number=st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_alike_however_it_is_written(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    for wrapped in (f"::ffff:{plain}", f"64:ff9b::{plain}"):
        assert is_public(ipaddress.ip_address(wrapped)) == is_public(plain)


@pytest.mark.parametrize(
    ("hosts", "listed", "reached"),
    [
        ({"127.0.0.1"}, (), {"127.0.0.1"}),
        ({"10.1.2.3"}, (), {"10.1.2.3"}),
        ({"::1"}, (), {"::1"}),
        ({"169.254.169.254"}, (), set()),
        ({"fe80::1"}, (), set()),
        ({"::ffff:169.254.169.254"}, (), set()),
        ({"169.254.169.254"}, ("169.254.169.254",), {"169.254.169.254"}),
        (set(), ("10.1.2.3",), set()),
        ({"2130706433"}, (), set()),
        ({"0x7f.1"}, (), set()),
        ({"no such name"}, ("no such name",), set()),
    ],
)
def test_what_a_route_may_reach_is_what_it_writes_out_or_the_project_lists(
    hosts: set[str], listed: tuple[str, ...], reached: set[str]
) -> None:
    assert {str(address) for address in allowed_for(hosts, listed).addresses} == reached


def test_a_proxy_that_the_environment_names_is_reached_at_its_port_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:word@127.0.0.9:3128")
    allowed, proxy = allowed_for((), ()), ipaddress.ip_address("127.0.0.9")
    assert allowed.admits(proxy, 3128)
    assert not allowed.admits(proxy, 22)


def test_a_refused_connection_is_an_error_of_the_system_and_is_noted() -> None:
    refused: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            guarded(Allowed(), refused),
            pytest.raises(PermissionError, match="not an address that pages may be sent to"),
        ):
            socket.create_connection(("127.0.0.1", port))
        with guarded(Allowed(), refused), socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(OSError):
            datagrams.sendto(b"x", ("127.0.0.1", port))
        with guarded(Allowed(), refused), socket.socket() as plain, pytest.raises(OSError):
            plain.connect_ex(("127.0.0.1", port))
        assert refused == ["127.0.0.1"] * 3
        socket.create_connection(("127.0.0.1", port)).close()


def test_another_thread_is_not_watched() -> None:
    made: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect() -> None:
            socket.create_connection(server.getsockname()).close()
            made.append(True)

        with guarded(Allowed(), []):
            thread = threading.Thread(target=connect)
            thread.start()
            thread.join()
    assert made == [True]
