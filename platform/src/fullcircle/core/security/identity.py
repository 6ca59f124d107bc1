"""Identity of whoever decides: what the system knows of it, kept apart from what is merely claimed.

Known is whom the kernel runs this process as, on which machine, and which process it is. The environment's user name,
git's, and `--by` are words that anybody may set: they are kept as claims. Nothing authenticates anybody yet: the field
for it is there, and empty.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_CLAIMING = ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER")
_UNSET = 2**32 - 1
_claims: ContextVar[Mapping[str, str] | None] = ContextVar("claims", default=None)


def system_user() -> str:
    """The name of the user that this process runs as, by its uid; `uid 1234` where the system has none for it."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return f"uid {os.geteuid()}" if hasattr(os, "geteuid") else "unknown"


def identity() -> dict[str, Any]:
    """What is known of whoever acts now, and what is claimed, in JSON's own types.

    `user` and `uid` (that the process runs as), `login_uid` (that the session was opened by, where the kernel keeps it:
    it stays the same through sudo), `host`, `pid`, `program`, `authenticated` (by whom or what; "" as long as nothing
    does), and `claims`, where -> name, without those that say what is known.
    """
    user = system_user()
    named = {name: os.environ.get(name, "") for name in _CLAIMING} | dict(_claims.get() or {})
    return {
        "user": user,
        "uid": os.geteuid() if hasattr(os, "geteuid") else None,
        "login_uid": _login_uid(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "program": Path(sys.argv[0]).name if sys.argv else "",
        "authenticated": "",
        "claims": {name: value[:200] for name, value in named.items() if value not in ("", user)},
    }


def claim(claims: Mapping[str, str]) -> None:
    """From now on, in this context, whoever acts also claims these names."""
    _claims.set({**(_claims.get() or {}), **{name: value for name, value in claims.items() if value}})


def by(who: str, known: Mapping[str, Any] | None) -> str:
    """Who did it, in a few words: whom it was done as, and what is claimed beside it, as a claim.

    Args:
        who: in whose name it was written down: a user, or the part of the platform that decided.
        known: its `identity`, None for what was written before there was one.
    """
    if not known:
        return who
    user = str(known.get("user", ""))
    parts = [] if who == user else [f"run by {user}"]
    if known.get("authenticated"):
        parts.append(f"authenticated as {known['authenticated']}")
    claimed: dict[str, list[str]] = {}
    for where, name in dict(known.get("claims") or {}).items():
        claimed.setdefault(str(name), []).append(str(where))
    parts += [f"claims to be {name}: {', '.join(where)}" for name, where in claimed.items()]
    return f"{who} ({'; '.join(parts)})" if parts else who


def process(known: Mapping[str, Any] | None) -> str:
    """`uid 1000 on HOST, process 123 (fullcircle)`; "" where it was not recorded."""
    if not known:
        return ""
    login = known.get("login_uid")
    also = f", logged in as uid {login}" if login is not None and login != known.get("uid") else ""
    return f"uid {known.get('uid')}{also} on {known.get('host')}, process {known.get('pid')} ({known.get('program')})"


def _login_uid() -> int | None:
    try:
        found = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if found == _UNSET else found
