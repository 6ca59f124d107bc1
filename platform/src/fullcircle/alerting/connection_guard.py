"""A guard against server-side request forgery (OWASP SSRF): what a delivery connects to, checked as it connects.

A route's host is looked up by whichever library sends the page, follows redirects as it likes, and may be told another
address the second time that it asks (DNS rebinding). So it is not names that are checked beforehand, but the address
of each connection, by an audit hook (PEP 578) that the interpreter calls just before the operating system: there is no
time between the check and the use. What is checked is what runs inside `guarded` in its own thread, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import socket
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What a delivery may reach although it is not of the public internet.

    Attributes:
        addresses: of hosts that the project listed or wrote out.
        proxies: (address, port) of the proxies that the environment names.
    """

    addresses: frozenset[Address] = frozenset()
    proxies: frozenset[tuple[Address, int]] = frozenset()

    def admits(self, address: Address, port: int) -> bool:
        """Whether a connection there may be made."""
        return is_public(address) or address in self.addresses or (address, port) in self.proxies


_watched: ContextVar[tuple[Allowed, list[str]] | None] = ContextVar("fullcircle_watched_connections", default=None)


def is_public(address: Address) -> bool:
    """Whether anybody's machine may have this address: neither private, loopback, link-local nor otherwise reserved
    (IANA's special-purpose registries, RFC 6890). An IPv4 address inside an IPv6 one is judged as what it is."""
    meant = _meant(address)
    return meant.is_global and not meant.is_multicast


def allowed_for(hosts: Iterable[str], listed: Iterable[str]) -> Allowed:
    """What a route may reach: its own hosts, where the project lists them or they are written out, and proxies.

    A link-local address (169.254.169.254, where clouds keep credentials) is reached only when it is listed.

    Args:
        hosts: what may be a host in the route's URL, in lower case.
        listed: host names and addresses, `Project.allowed_private_hosts`.
    """
    known = {host.lower() for host in listed}
    meant = {host for host in hosts if host in known or _is_localhost(host) or _is_written_out(host)}
    addresses = {address for host in meant for address in _addresses(host)}
    places = [urlsplit(proxy) for name, proxy in urllib.request.getproxies().items() if name != "no"]
    proxies = {
        (address, place.port or 80) for place in places if place.hostname for address in _addresses(place.hostname)
    }
    return Allowed(addresses=frozenset(addresses), proxies=frozenset(proxies))


@contextlib.contextmanager
def guarded(allowed: Allowed, refused: list[str]) -> Iterator[None]:
    """Within this block, a connection of this thread to what is not allowed fails.

    Args:
        refused: takes the addresses of those that failed so.
    """
    _install()
    token = _watched.set((allowed, refused))
    try:
        yield
    finally:
        _watched.reset(token)


@functools.cache
def _install() -> None:
    sys.addaudithook(_check)  # never removed: nothing can be, and outside of `guarded` it does nothing


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _CONNECTS or (watched := _watched.get()) is None:
        return
    allowed, refused = watched
    target = arguments[1]
    if not isinstance(target, tuple) or len(target) < 2:  # a Unix socket, or one that is connected already
        return
    if (address := _parsed(str(target[0]))) is None:
        # A name here would be looked up by the interpreter itself, after this.
        raise OSError(errno.EACCES, "a page may only be sent to an address that was looked up")
    if not allowed.admits(address, int(target[1])):
        refused.append(str(address))
        raise OSError(errno.EACCES, f"{address} is not an address that pages may be sent to")


def _meant(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    nat64 = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return address.ipv4_mapped or address.sixtofour or nat64 or address


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")  # always loopback: RFC 6761, section 6.3


def _is_written_out(host: str) -> bool:
    address = _parsed(host)
    return address is not None and not _meant(address).is_link_local


def _parsed(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _addresses(host: str) -> set[Address]:
    """What a host's name leads to now; nothing, where it leads nowhere."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    parsed = {_parsed(str(place[4][0])) for place in found}
    return {address for address in parsed if address is not None}
