"""MLflow client that retries a call until its server is back, for use cases that outlast an outage.

Every call of the platform may be made twice but those in `_ONCE`: nobody knows whether a request arrived whose answer
did not. Of these only the way is waited for; whoever can look first makes them again (`Registry.register`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fullcircle.core.errors import TrackerAway
from fullcircle.core.system.outages import is_patient, wait_out
from fullcircle.tracking.connection.connectivity import probe

T = TypeVar("T")

_ONCE = {"create_run", "create_model_version", "create_logged_model"}


class RetryingClient:
    """A client whose methods are those of another one, and wait where a use case is patient (`core.system.outages`).

    Args:
        client: an MlflowClient.
        away: what an error of the client means that says that its server is away; None for every other error.
        uri: of its server.
    """

    def __init__(self, client: Any, away: Callable[[str, Exception], TrackerAway | None], uri: str) -> None:
        self._client, self._away, self._uri = client, away, uri

    def __getattr__(self, name: str) -> Any:
        """The client's attribute; a method waits."""
        found = getattr(self._client, name)
        if not callable(found) or name.startswith("_"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.wait_out(name.replace("_", " "), lambda: found(*args, **kwargs), once=name in _ONCE)

        return call

    def wait_out(self, doing: str, call: Callable[[], T], *, once: bool = False) -> T:
        """What `call` returns, made again while the server is away.

        Args:
            once: it is made once, when the server is there.
        """
        if not is_patient():
            return call()
        if once:
            wait_out(lambda: self._tried(doing, lambda: None))
            return call()
        return wait_out(lambda: self._tried(doing, call))

    def _tried(self, doing: str, call: Callable[[], T]) -> T:
        try:
            probe(self._uri)  # first, since MLflow asks a closed port four times, for 15 s
            return call()
        except Exception as error:
            if (away := self._away(doing, error)) is not None:
                raise away from error
            raise
