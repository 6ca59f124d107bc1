"""Probes the Prefect API before each stage, so that an outage is one line and no hang.

Prefect's clients ask a server that is gone for a minute each, one behind the other, and then end in a traceback. Stages
need no server while they run; between two of them it is waited for here.
"""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from fullcircle.core.errors import FullcircleError, ServiceUnavailable
from fullcircle.core.system.outages import span
from fullcircle.loop import progress

WAITED_FOR_S = 120.0
"""As long as a first start may take: a server of our own that was killed is started again meanwhile."""
AFTER_S = 1.0
DONE_STAYS = "what was finished stays; the same command goes on from there"


def reachable(url: str, timeout_s: float = 5.0) -> bool:
    """Whether anything answers there, whatever it says."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_s).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def require_api(limit_s: float = WAITED_FOR_S) -> None:
    """Wait until the API that flows of this program report to can be reached. Raises ServiceUnavailable."""
    url = os.environ.get("PREFECT_API_URL")
    if not url or reachable(url):
        return
    progress.current().note(f"the Prefect API {url} does not answer: waiting for up to {span(limit_s)}")
    ends = time.monotonic() + limit_s
    while not reachable(url):
        if time.monotonic() >= ends:
            raise ServiceUnavailable(f"the Prefect API {url} went away, for {span(limit_s)}", hint=DONE_STAYS)
        time.sleep(AFTER_S)
    progress.current().note("it answers again: going on")


@contextlib.contextmanager
def short_outage_errors(url: str) -> Iterator[None]:
    """What Prefect raises in the block because its API went away leaves as ServiceUnavailable."""
    try:
        yield
    except FullcircleError:
        raise
    except Exception as error:
        if reachable(url):
            raise
        raise ServiceUnavailable(f"the Prefect API {url} went away", hint=DONE_STAYS) from error
