"""The workspace of a command or a flow: the tools of one home, each made once, when it is first asked for.

A command or a flow makes one `Workspace` and passes it on; use cases build no tool of their own. Nothing is opened or
imported before its first use, so that `fullcircle --help` stays fast. A process keeps its own tools: pickled or carried
over a fork, a workspace starts without any, since connections belong to the process that opened them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.data.data_versions import Versions
    from fullcircle.store.database import Database
    from fullcircle.tracking.registry.model_registry import Registry
    from fullcircle.tracking.runs.run_store import RunStore

T = TypeVar("T")


class Workspace:
    """The run store, model registry, database and data versions of the settings' home. Safe to share between threads.

    As a context manager it closes at the end what it opened; a tool that is asked for afterwards is made anew.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._guard = threading.RLock()
        self._process = os.getpid()
        self._tools: dict[str, Any] = {}

    @property
    def run_store(self) -> RunStore:
        """Runs of all projects in MLflow."""
        from fullcircle.tracking.runs.run_store import RunStore

        return self._once("run_store", lambda: RunStore(self.settings))

    @property
    def registry(self) -> Registry:
        """Registered model versions and aliases."""
        from fullcircle.tracking.registry.model_registry import Registry

        return self._once("registry", lambda: Registry(self.settings))

    @property
    def database(self) -> Database:
        """The platform's own database."""
        from fullcircle.store.database import Database

        return self._once("database", lambda: Database(self.settings))

    @property
    def data_versions(self) -> Versions:
        """Data versions in DVC."""
        from fullcircle.data.data_versions import Versions

        return self._once("data_versions", lambda: Versions(self.settings))

    def close(self) -> None:
        """Close the connections that this process opened. Safe to call twice."""
        with self._guard:
            database = self._tools.get("database") if self._process == os.getpid() else None
            self._tools = {}
        if database is not None:
            database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Workspace], tuple[Settings]]:
        return type(self), (self.settings,)

    def _once(self, name: str, make: Callable[[], T]) -> T:
        if self._process != os.getpid():  # a fork's child: the parent's lock may be held, its connections are not ours
            self._guard, self._process, self._tools = threading.RLock(), os.getpid(), {}
        with self._guard:
            if name not in self._tools:
                self._tools[name] = make()
            found: T = self._tools[name]
            return found
