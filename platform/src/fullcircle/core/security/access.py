"""Access control of our servers: bind address, Host and Origin checks, bearer token.

Loopback is a wall only against other machines. Three things are held against what comes over it all the same: a page
that reaches us by DNS rebinding (the Host header), one that posts to us from another site (Origin), and, with a token,
everybody who does not have it. A server on any other address needs the token, or somebody who said that it needs none.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fullcircle.core.errors import ServiceUnavailable, UsageError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
LONGEST_HOST = 300
"""Characters of a Host header: a name of DNS has 253 at most."""
SHORTEST_TOKEN = 32
"""Characters: 32 of `secrets.token_urlsafe` are 192 random bits."""
MAKE_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 (a command, no token)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE | re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask one server.

    Attributes:
        host: the address that it listens on.
        names: further names that it answers to: exact host names, addresses, or networks as `10.1.0.0/16`.
        token: what a request must carry; "" asks for none.
        insecure: somebody said that an outer address without a token is meant.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    insecure: bool = False

    def answers_to(self, header: str, local: str = "") -> bool:
        """Whether this Host header is one of ours.

        Args:
            header: as it was sent, with or without a port.
            local: our own end of the connection. A name may be made to lead here (DNS rebinding), an address may not.
        """
        return len(header) <= LONGEST_HOST and _answers_to(self, header, local)

    def same_origin(self, origin: str, header: str) -> bool:
        """Whether a page of this Origin is one that this server, asked by this Host header, handed out itself."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        theirs, ours = authority(parts.netloc), authority(header)
        if parts.scheme not in _DEFAULT_PORTS or theirs is None or ours is None or origin.count("/") != 2:
            return False
        # Behind a proxy that speaks TLS the scheme is not ours to know: a port that is left out is the scheme's own.
        port = _DEFAULT_PORTS[parts.scheme]
        return (theirs[0], theirs[1] or port) == (ours[0], ours[1] or port)

    def lets_in(self, authorization: str) -> bool:
        """Whether this Authorization header has the token: as a bearer's, or as the password that a browser asks for.

        Compared in a time that does not depend on where the two differ.
        """
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
            except (binascii.Error, ValueError):
                given = ""
        elif scheme.lower() != "bearer":
            given = ""
        return bool(self.token) and hmac.compare_digest(_digest(given), _digest(self.token))


@functools.lru_cache(maxsize=256)  # it is asked with each request, and nearly always the same
def _answers_to(access: Access, header: str, local: str) -> bool:
    found = authority(header)
    if found is None:
        return False
    name, address = found[0], _address(found[0])
    if address is None:
        ours = {*LOOPBACK_NAMES, access.host.lower(), *access.names}
        return name in ours or (not is_loopback_literal(access.host) and name == socket.gethostname().lower())
    if address.is_unspecified:  # a browser takes 0.0.0.0 for this machine; nobody who means us writes it
        return False
    exact = (*LOOPBACK_NAMES, access.host, local)
    return address in map(_address, exact) or any(address in net for net in map(_network, access.names) if net)


def require_safe(access: Access, what: str, *, knows_tokens: bool = True) -> None:
    """Refuse to listen where others reach it, unless a token is asked for or somebody said that none is needed.

    Args:
        what: the server, for the message.
        knows_tokens: False for one that cannot ask for a token.

    Raises:
        UsageError: saying what to set.
        ServiceUnavailable: the address is none.
    """
    if access.insecure or (access.token and knows_tokens) or is_loopback(access.host):
        return
    if knows_tokens:
        why, hint = "there is no token", f"set FULLCIRCLE_TOKEN ({MAKE_TOKEN}), listen on 127.0.0.1, or say --insecure"
    else:
        why, hint = "it has no access control", "listen on 127.0.0.1, or say --insecure"
    raise UsageError(f"{what} would answer everybody who reaches {access.host!r}, and {why}", hint=hint)


def is_loopback(host: str) -> bool:
    """Whether all that this name or address means is reached from this machine alone.

    Raises:
        ServiceUnavailable: it means nothing.
    """
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        hint = "name an address of this machine with FULLCIRCLE_HOST or --host"
        raise ServiceUnavailable(f"cannot listen on {host} ({why})", hint=hint) from error
    return all(is_loopback_literal(str(each[4][0])) for each in found)


def is_loopback_literal(text: str) -> bool:
    """Whether this is the text of a loopback address, or `localhost`."""
    address = _address(text)
    return text.lower() == "localhost" or (address is not None and address.is_loopback)


@functools.lru_cache(maxsize=256)
def is_outer(local: str) -> bool:
    """Whether a connection whose own end is this address came from another machine, or may have."""
    return _address(local) is not None and not is_loopback_literal(local)


def bearer(token: str) -> dict[str, str]:
    """The header with which a client of ours sends the token; none where there is no token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def reached_at(host: str, port: int) -> str:
    """`host:port` at which this machine reaches what listens on `host`: `0.0.0.0` and `::` are no addresses to ask."""
    address = _address(host)
    if address is not None and address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def found_at(host: str, port: int) -> str:
    """`host:port` for a link that people open: of a server on all addresses it has the machine's name."""
    address = _address(host)
    return f"{socket.gethostname()}:{port}" if address and address.is_unspecified else reached_at(host, port)


def token_of(text: str) -> str:
    """The token as a setting gave it. Raises UsageError, which does not show it, when it is too easily guessed."""
    if text and not (len(text) >= SHORTEST_TOKEN and re.fullmatch(r"[!-~]+", text)):
        raise UsageError(
            f"FULLCIRCLE_TOKEN must have {SHORTEST_TOKEN} or more letters, digits and signs, no spaces; "
            f"it has {len(text)} characters",
            hint=MAKE_TOKEN,
        )
    return text


def names_of(text: str) -> tuple[str, ...]:
    """The names of `FULLCIRCLE_ALLOWED_HOSTS`, parted by commas. Raises UsageError for a pattern, a port, a URL."""
    names = tuple(each.strip().lower() for each in text.split(",") if each.strip())
    for name in names:
        if _network(name) is None and not _NAME.fullmatch(name):
            raise UsageError(
                f"FULLCIRCLE_ALLOWED_HOSTS must have host names, addresses or networks, got {name!r}",
                hint="such as models.example,10.1.0.0/16: no port, no *",
            )
    return names


def authority(text: str) -> tuple[str, int | None] | None:
    """(name in lower case, an IPv6 address without brackets; port or None) of a Host header; None when it is none."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    name, port = match["name"].lower(), int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        return None
    if not name.startswith("["):
        return name, port
    address = _address(name[1:-1]) if ":" in name else None
    return (str(address), port) if address is not None else None


def _address(text: str) -> Address | None:
    """The address; of one that IPv6 maps (`::ffff:10.0.0.1`, as a socket for both tells it) the one of IPv4."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
