"""Finds a run by its id, a unique beginning of it, its name, or the name it had while the server was away."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fullcircle.core.errors import UsageError
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import translated
from fullcircle.tracking.runs.run_tags import SPOOL, filters

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

MOST = 10_000
"""So many runs of one search are read."""


def find(client: MlflowClient, settings: Settings, reference: str) -> str:
    """The run id behind an id, a unique beginning of an id, or a run name.

    Raises:
        UsageError: with the nearest ids and names when there is none, or with the ids when there are several.
        TrackingUnavailable: the store does not answer.
    """
    if re.fullmatch(r"[0-9a-f]{32}", reference):
        if _exists(client, settings, reference):
            return reference
        for where in filters(SPOOL, f"= '{reference}'"):
            if begun := list(search(client, settings, where, limit=1)):
                return str(begun[0].info.run_id)  # it began while the server was away, and was called so
    matches: list[MlflowRun] = []
    if re.fullmatch(r"[0-9a-f]{4,31}", reference):
        matches = list(search(client, settings, f"attributes.run_id LIKE '{reference}%'"))
    if not matches and "'" not in reference and '"' not in reference:
        matches = list(search(client, settings, f"attributes.run_name = '{reference}'"))
    if len(matches) == 1:
        return str(matches[0].info.run_id)
    if matches:
        ids = ", ".join(run.info.run_id[:12] for run in matches[:5])
        raise UsageError(f"{len(matches)} runs are meant by {reference!r}", hint=f"say which: {ids}")
    raise UsageError(f"no run {reference!r}", hint=_nearest(client, settings, reference))


def get(client: MlflowClient, settings: Settings, run_id: str) -> MlflowRun:
    """The run of this id. Raises TrackingUnavailable when there is none, too."""
    with translated(settings, f"reading run {run_id}"):
        return client.get_run(run_id)


def search(
    client: MlflowClient, settings: Settings, where: str, experiments: Sequence[str] = (), limit: int = MOST
) -> Iterator[MlflowRun]:
    """Runs that fit, newest first, a page at a time; of all experiments, unless some are named.

    Raises:
        TrackingUnavailable: the store does not answer.
    """
    with translated(settings, "searching runs"):
        within = list(experiments) or [each.experiment_id for each in client.search_experiments()]
        token: str | None = None
        while limit > 0:
            page = client.search_runs(within, where, max_results=min(limit, 500), page_token=token)
            yield from page
            limit -= len(page)
            token = page.token
            if not token:
                return


def _exists(client: MlflowClient, settings: Settings, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    with translated(settings, f"reading run {run_id}"):
        try:
            client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
    return True


def _nearest(client: MlflowClient, settings: Settings, reference: str) -> str:
    words: dict[str, None] = {}  # in the order in which they are found, each once
    for run in search(client, settings, "", limit=1000):
        words |= {word: None for word in (run.info.run_id, run.info.run_name) if word}
    near = difflib.get_close_matches(reference, words, n=3, cutoff=0.3)
    if not near:
        return "none is near; 'fullcircle ui' shows all runs" if words else "there are no runs yet"
    return f"the nearest are {', '.join(near)}"
