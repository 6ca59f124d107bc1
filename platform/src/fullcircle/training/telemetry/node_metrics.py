"""System metrics of a node that trains but did not launch: its first process logs them to the job's run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from fullcircle.core.errors import FullcircleError
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import is_server
from fullcircle.tracking.runs.system_metrics import monitor_node

log = logging.getLogger("fullcircle")


@contextmanager
def log_node_metrics(run_id: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """While the block runs, this machine's load is logged under its own name; the launcher's machine is left to the
    launcher. Does nothing without a tracking server: a database file belongs to one machine. Never raises by itself.
    """
    env = os.environ if env is None else env
    settings = Settings.from_env(env)
    with ExitStack() as stack:
        if env.get("LOCAL_RANK", "0") == "0" and is_server(settings):
            try:
                stack.enter_context(monitor_node(run_id, settings))
            except FullcircleError as error:
                log.warning("the load of this machine is not logged: %s", error)
        yield
