"""The guard in front of the local Prefect server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.orchestration.guarded_app import LOOPBACK, Guarded


def ask(hosts: list[str], kind: str = "http") -> list[str]:
    """What happens to a request with these Host headers: "inside" when the guarded application saw it."""
    seen: list[str] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append("inside")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        seen.append(f"{message['type']} {message.get('status', '')}".strip())

    scope = {"type": kind, "headers": [(b"host", host.encode("latin-1")) for host in hosts]}
    asyncio.run(Guarded(inside, LOOPBACK)(scope, receive, send))
    return seen


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:4200", "[::1]"])
def test_its_own_names_lead_inside(host: str) -> None:
    assert ask([host]) == ["inside"]


@pytest.mark.parametrize("hosts", [[], [""], ["127.0.0.1.evil.example"], ["evil.example:127"], ["127.0.0.1", "evil"]])
def test_other_names_and_none_at_all_are_refused(hosts: list[str]) -> None:
    assert ask(hosts) == ["http.response.start 400", "http.response.body"]


def test_a_websocket_of_another_site_is_closed_before_it_opens() -> None:
    assert ask(["evil.example"], "websocket") == ["websocket.close"]


@given(st.text(st.characters(max_codepoint=255)))
def test_only_the_exact_names_ever_lead_inside(host: str) -> None:
    name, colon, port = host.rpartition(":")
    bare = name if colon and port.isdigit() else host
    assert (ask([host]) == ["inside"]) == (bare.lower() in LOOPBACK)
