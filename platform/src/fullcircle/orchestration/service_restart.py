"""Restarts a server of our own that was killed, at its address and on its files, while a block needs it.

Prefect's clients ask again for a minute; what they asked meanwhile is answered by the new server.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.system.processes import Service
from fullcircle.loop import progress

MOST = 10
"""Starts in one block: what ends again and again has a reason that another start does not mend."""


@contextlib.contextmanager
def restart_on_exit(service: Service) -> Iterator[None]:
    """While the block runs, start a service that was started again whenever it ends by itself."""
    restarter = _Restarter(service)
    restarter.start()
    try:
        yield
    finally:
        restarter.end()


class _Restarter(threading.Thread):
    """Waits for the end of the service. It also outlives each start: a child dies with the thread that started it."""

    def __init__(self, service: Service) -> None:
        super().__init__(name=f"keep {service.name}", daemon=True)
        self._service, self._over, self._turn = service, threading.Event(), threading.Lock()
        self._view = progress.current()  # context variables stay behind in the block's thread

    def run(self) -> None:
        """Start it again each time that it ends, until the block does."""
        for _ in range(MOST):
            try:
                self._service.wait()
            except ServiceUnavailable as error:
                why = error.what
            with self._turn:
                if self._over.is_set():
                    return
                self._view.note(f"{why}: starting it again")
                self._service.start()
            with contextlib.suppress(ServiceUnavailable, AssertionError):  # it ended again, or the block did meanwhile
                self._service.wait_ready()
                self._view.note(f"{self._service.name} is up again")
        self._over.wait()

    def end(self) -> None:
        """Stop the service and forget it."""
        with self._turn:
            self._over.set()
        self._service.stop()
        self.join(timeout=5.0)
