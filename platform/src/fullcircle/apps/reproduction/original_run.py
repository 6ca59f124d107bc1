"""Reads what a finished run recorded of its training; a run of which something is missing is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.records.fingerprint import Recorded, fingerprint_of
from fullcircle.loop.retraining.resume import until_of
from fullcircle.loop.training_runs.run_fingerprint import FINGERPRINT, JOB, LOSSES
from fullcircle.tracking.provenance.run_provenance import packages
from fullcircle.tracking.runs.run_schema import REQUIREMENTS

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion
    from fullcircle.tracking.runs.run_store import RunState, RunStore


@dataclass(frozen=True, kw_only=True)
class OriginalRun:
    """All that a run recorded. `recipe` is its `training/job.json`; it learned from rows before `until` (ISO 8601)."""

    state: RunState
    recipe: Mapping[str, Any]
    until: str
    data: DataVersion
    recorded: Recorded


def read_original_run(run_store: RunStore, state: RunState) -> OriginalRun:
    """What a run recorded. Raises UsageError naming what is missing."""
    import numpy as np

    name, kind = f"run {state.run_id}", state.tags.get("fullcircle.kind", "?")
    if kind == "retrain":
        raise UsageError(f"{name} is a retrain of several models", hint="name the run of one of its candidates")
    if not state.finished:
        raise UsageError(f"{name} did not come to its end ({state.status})", hint="only a finished training can be")
    paths = {}
    for artifact in (JOB, FINGERPRINT, LOSSES, REQUIREMENTS):
        try:
            paths[artifact] = run_store.download(state.run_id, artifact)
        except DataUnavailable as error:
            raise UsageError(
                f"{name} ({kind}) cannot be reproduced: it has no {artifact}",
                hint="a training that this version or a later one does records it",
            ) from error
    recipe = json.loads(paths[JOB].read_text())
    fingerprint = fingerprint_of(json.loads(paths[FINGERPRINT].read_text()), state.run_id)
    parent = state.tags.get("mlflow.parentRunId")
    until = recipe.get("until") or (until_of(run_store.state(parent).tags) if parent else None)
    if not until:
        raise UsageError(f"{name} cannot be reproduced: it does not say until when it learned")
    try:
        version = run_store.data_version(state.run_id)
    except DataUnavailable as error:
        raise UsageError(f"{name} cannot be reproduced: {error.what}") from error
    recorded = Recorded(
        fingerprint=fingerprint,
        losses=np.load(paths[LOSSES], allow_pickle=False),
        requirements=packages(paths[REQUIREMENTS].read_text()),
        code=str(recipe.get("code", "")),
    )
    return OriginalRun(state=state, recipe=recipe, until=str(until), data=version, recorded=recorded)
