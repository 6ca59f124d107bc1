"""Who decided is what the system knows; what is only said is called a claim."""

from __future__ import annotations

import contextvars
import os
import socket
from typing import Any

import pytest

from fullcircle.core.security.identity import by, claim, identity, process, system_user


def told_by_nobody() -> dict[str, Any]:
    """The identity without what commands of other tests in this process claimed."""
    return contextvars.Context().run(identity)


def test_the_environment_does_not_say_who_somebody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = system_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ceo")
    known = told_by_nobody()
    assert system_user() == known["user"] == expected
    assert (known["uid"], known["host"], known["pid"]) == (os.geteuid(), socket.gethostname(), os.getpid())
    assert known["authenticated"] == ""
    shown = by(system_user(), known)
    assert shown == f"{expected} (claims to be ceo: LOGNAME, USER, LNAME, USERNAME)"
    assert f"uid {os.geteuid()}" in process(known)


def test_whoever_claims_nothing_or_the_truth_is_named_without_a_word_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, system_user())
    assert by(system_user(), told_by_nobody()) == system_user()


def test_what_the_platform_decides_is_said_to_be_run_by_somebody_and_an_old_name_is_as_it_was() -> None:
    assert by("prefect", {"user": "ada", "claims": {"--by": "ceo"}}) == "prefect (run by ada; claims to be ceo: --by)"
    assert by("ceo", None) == "ceo"
    assert by("ada", {"user": "ada", "authenticated": "ada@example.com"}) == "ada (authenticated as ada@example.com)"


def test_a_claim_goes_along_until_the_context_ends() -> None:
    def told() -> str:
        claim({"--by": "ceo", "git user.name": ""})
        return str(identity()["claims"]["--by"])

    assert contextvars.copy_context().run(told) == "ceo"
    assert "--by" not in told_by_nobody()["claims"]
