"""One HTTP request of a sender: with time limits, without redirects, and without a second try: that is the outbox's."""

from __future__ import annotations

from collections.abc import Mapping

MOST_ANSWERED = 2_000
CONNECT_S, ANSWER_S = 5.0, 15.0


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, login: tuple[str, str] | None = None, kind: str = ""
) -> str:
    """Post a body. Returns "" when the answer is 2xx, else the status with the beginning of what was answered.

    A redirect is not followed, whoever it leads to: the project named one receiver, and what it signs or asks for
    by a key is for that one alone.

    Args:
        login: user and password, for basic authentication (RFC 7617).
        kind: the body's media type; JSON where it is not said.

    Raises:
        httpx.HTTPError, httpx.InvalidURL: no answer came, or there is nowhere to ask.
    """
    import httpx

    limits = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    headers = {"Content-Type": kind or "application/json", "User-Agent": "fullcircle", **headers}
    with (
        httpx.Client(timeout=limits, follow_redirects=False) as client,
        client.stream("POST", url, content=body, headers=headers, auth=login) as answer,
    ):
        if answer.is_success:
            return ""
        if answer.is_redirect:
            return f"HTTP {answer.status_code}: it redirects, which is not followed; name the place that it leads to"
        said = b""
        for piece in answer.iter_bytes(MOST_ANSWERED):
            said += piece
            if len(said) >= MOST_ANSWERED:
                break
        return f"HTTP {answer.status_code}: {said[:MOST_ANSWERED].decode(errors='replace')}"
