"""A route's URL in its parts (RFC 3986), with the secrets that it names in the environment. Pure but for those."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode

_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)\??(?P<query>[^#]*)")
_FROM_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class RouteInvalid(ValueError):
    """A route cannot be used: why, without a word of what may be secret in it."""


@dataclass(frozen=True, kw_only=True)
class RouteUrl:
    """The parts of a route's URL, decoded, but for the path.

    `env:NAME` in the place of a user, password, host or parameter stands for that environment variable: the secret is
    not in the project, and the route keeps its name when the secret is changed.

    Attributes:
        host: as written, case and all, since some services put a key there.
        parameters: of the query, in their order; a name may come several times.
        secrets: what was read from the environment.
    """

    scheme: str
    user: str = ""
    password: str = ""
    host: str
    port: int | None = None
    path: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] | None = None) -> RouteUrl:
        """The parts of a URL.

        Raises:
            RouteInvalid: it is no URL, or names a variable that is not set.
        """
        match = _PARTS.match(url)
        if match is None:
            raise RouteInvalid("it is no URL such as alertmanagers://alerts.example")
        read = _Environment(os.environ if environment is None else environment)
        before, _, place = match["authority"].rpartition("@")
        if before.startswith("env:"):
            first, _, second = before.removeprefix("env:").partition(":")
            user, password = f"env:{first}", second
        else:
            user, _, password = before.partition(":")
        host, port = _host_and_port(place)
        return cls(
            scheme=match["scheme"].lower(),
            user=read(unquote(user)),
            password=read(unquote(password)),
            host=read(unquote(host)),
            port=port,
            path=match["path"],
            parameters=tuple((name, read(value)) for name, value in parse_qsl(match["query"], keep_blank_values=True)),
            secrets=tuple(read.found),
        )

    @property
    def netloc(self) -> str:
        """Host and port."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def all(self, name: str) -> tuple[str, ...]:
        """The values of a parameter."""
        return tuple(value for each, value in self.parameters if each == name)

    def get(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return (self.all(name) or (default,))[-1]

    def query_without(self, *names: str) -> str:
        """The query without these parameters, encoded."""
        return urlencode([(name, value) for name, value in self.parameters if name not in names])


def hosts_in(url: str) -> set[str]:
    """What may be a host in a URL of any kind, in lower case: Apprise has a mail's server in the query, say."""
    pieces = re.split(r"[/@?&=#,]+", url.partition("://")[2])
    bare = {re.sub(r":\d+$", "", unquote(piece)) for piece in pieces}
    return {piece.strip("[]").lower() for piece in bare if piece}


class _Environment:
    """Puts variables in the place of their names, and remembers what they held."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.found: list[str] = []

    def __call__(self, text: str) -> str:
        match = _FROM_ENVIRONMENT.fullmatch(text)
        if match is None:
            return text
        value = self._environment.get(match[1], "")
        if not value:
            raise RouteInvalid(f"the environment variable {match[1]} is not set")
        self.found.append(value)
        return value


def _host_and_port(place: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[address]:port`, or `env:NAME`, which looks like the second and is none."""
    if _FROM_ENVIRONMENT.fullmatch(place):
        return place, None
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:]*)(?::(\d{1,5}))?", place)
    if match is None or int(match[2] or 0) > 65535:
        raise RouteInvalid("its host or port is none")
    return match[1], int(match[2]) if match[2] else None
