"""Nodes of a lineage trace from a prediction to its run: prediction, model version, run, verdict, release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.records.ledger_entries import Entry
from fullcircle.core.records.lineage_trace import ChampionPeriod, MissingNode, NodeKind, TraceNode, champion_periods
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.statistics.interval import in_digits
from fullcircle.loop.lineage.provenance_nodes import unknown
from fullcircle.tracking.runs.run_tags import REASONS
from fullcircle.tracking.ui.ui_links import version_page

if TYPE_CHECKING:
    from fullcircle.predictions.lookup import LoggedRow
    from fullcircle.tracking.reader.mlflow_reader import MlflowReader
    from fullcircle.tracking.reader.records import RunRecord

HANDOVER_S = 60.0
"""A server looks for a new champion every few seconds, and the ledger's entry is written once the aliases have moved:
so close to a change, the old and the new champion may both have answered."""

_KEPT = ("prediction_id", "row_id", "event_time", "logged_at", "model_version", "model_digest")
SHOWN_ANSWERS = 3
"""So many numbers of an answer stand in a title: of more the largest."""


def prediction(project: str, row: LoggedRow) -> TraceNode:
    """The answer as it was logged."""
    kept = (*_KEPT, *row.answers, "label")
    inputs = {name: _short(value) for name, value in row.items() if name not in kept}
    known = "unknown yet" if row["label"] is None else str(row["label"])
    return TraceNode(
        kind=NodeKind.PREDICTION,
        title=f"{row['prediction_id']} of {project}: {_answer(row)}, label {known}",
        facts={name: row[name] for name in kept} | {"project": project, "inputs": inputs},
    )


def model_version(project: str, row: Mapping[str, object], version: ModelVersion | None) -> TraceNode:
    """The registered version that answered, and whether its graph is the one that did."""
    number, digest = str(row["model_version"]), str(row["model_digest"])
    if version is None:
        gone = MissingNode(
            what=f"version {number} of {project} is not in the registry",
            why="the graph that answered cannot be loaded again by its version",
            hint=f"it was deleted; the log says its digest: {digest}",
        )
        return TraceNode(kind=NodeKind.VERSION, facts={}, missing=(gone,))
    other = MissingNode(
        what=f"the graph of version {number} that answered is not the one in the registry ({version.digest[:12]})",
        why=f"the answer came from a graph with digest {digest[:12]}, which nobody can load by this version",
        hint="somebody changed the version or gave its number a second time: what follows is of the registry's",
    )
    return TraceNode(
        kind=NodeKind.VERSION,
        title=f"{project} version {version.version}, digest {version.digest[:12]}",
        facts={
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "same_digest": version.digest == digest,
            "registered": version.created,
            "aliases": list(version.aliases),
            "link": version_page(version.name, version.version),
        },
        missing=() if version.digest == digest else (other,),
    )


def run(found: RunRecord | None, version: ModelVersion | None) -> TraceNode:
    """The run that trained it."""
    if found is None:
        name = f"run {version.run_id}" if version else "the run of this graph"
        gone = MissingNode(
            what=f"{name} is not in MLflow",
            why="its parameters, metrics and artifacts are lost",
            hint="bring MLflow's database back from a backup; what follows is from its parent run, if that is there",
        )
        return TraceNode(kind=NodeKind.RUN, facts={}, missing=(gone,))
    trash = MissingNode(
        what=f"run {found.run_id} was deleted",
        why="it is in MLflow's trash, and 'mlflow gc' would remove it with all its artifacts",
        hint=f"'mlflow runs restore --run-id {found.run_id}' brings it back",
    )
    framework, seed = found.tags.get("fullcircle.framework", ""), found.params.get("seed", "")
    return TraceNode(
        kind=NodeKind.RUN,
        title=f"{found.run_id} {found.name}, seed {seed or 'unknown'}, {found.status}",
        facts={
            "run_id": found.run_id,
            "name": found.name,
            "framework": framework,
            "seed": seed,
            "status": found.status,
            "started": found.started,
            "ended": found.ended,
            "parent": found.parent,
            "link": found.link,
        },
        missing=(trash,) if found.deleted else (),
    )


def verdict(reader: MlflowReader, found: RunRecord | None, version: ModelVersion | None) -> TraceNode:
    """What the gate said: from the run's own record, else from what the version's or the run's tags repeat of it."""
    text = reader.text(found, "gate/verdict.json") if found else None
    try:
        said = json.loads(text) if text is not None else {}
    except ValueError:
        text, said = None, {}
    tags = {**(found.tags if found else {}), **(version.tags if version else {})}
    outcome = said.get("outcome") or tags.get("fullcircle.verdict", "")
    sentences = tags.get("fullcircle.reasons") or tags.get(REASONS, "")
    reasons = said.get("reasons") or [each for each in sentences.split(" | ") if each]
    if not outcome:
        return unknown(NodeKind.VERDICT, "the gate's verdict", "nobody can say why it was good enough")
    gone = MissingNode(
        what=f"gate/verdict.json of {f'run {found.run_id}' if found else 'its run'} is gone or damaged",
        why="what each gate measured is lost; the outcome and the reasons are from tags",
        hint="bring the run's artifacts back from a backup",
    )
    return TraceNode(
        kind=NodeKind.VERDICT,
        title=str(outcome),
        facts={
            "outcome": outcome,
            "reasons": list(reasons),
            "against": said.get("champion_version"),
            "gates": {gate["gate"]: gate["passed"] for gate in said.get("gates", [])},
            "test_rows": said.get("rows"),
        },
        missing=(gone,) if text is None else (),
    )


def release(
    project: str, entries: Sequence[Entry], number: str, digest: str, answered: datetime, *, replayed: bool = False
) -> TraceNode:
    """Who or what released it, when and why, and whether it was the champion when it answered: by the ledger alone."""
    from fullcircle.store.champion_ledger import faults

    wrong = tuple(
        MissingNode(
            what=f"the ledger of {project} does not hold: {fault}",
            why="what it says of releases is in doubt",
            hint=f"'fullcircle ledger verify {project}' says all that is wrong",
        )
        for fault in faults(entries)[:1]
    )
    served = [
        term
        for term in champion_periods(entries, replayed=replayed)
        if term.version == number and term.entry.model_digest in ("", digest)
    ]
    if not served:
        none = MissingNode(
            what=f"the ledger of {project} has no release of version {number} with digest {digest[:12]}",
            why="nobody can say who let it answer, and why",
            hint=f"'fullcircle ledger show {project}' lists what it has",
        )
        return TraceNode(kind=NodeKind.RELEASE, facts={}, missing=(*wrong, none))
    term = min(served, key=lambda each: each.seconds_off(answered))
    off = term.seconds_off(answered)
    if off > HANDOVER_S:
        wrong += (_not_then(term, answered),)
    by = term.entry
    return TraceNode(
        kind=NodeKind.RELEASE,
        title=f"{by.action.value} by {by.by}, {term.since:%Y-%m-%d %H:%M} UTC (entry {by.seq} of the ledger)",
        facts={
            "entry": by.seq,
            "action": by.action.value,
            "by": by.who,
            "identity": by.identity,
            "at": term.since,
            "recorded": by.recorded,
            "data_until": by.data_until,
            "until": term.until,
            "why": by.why,
            "verdict": by.verdict,
            "champion_when_answered": off == 0.0,
            "seconds_off": off,
        },
        missing=wrong,
    )


def _not_then(term: ChampionPeriod, answered: datetime) -> MissingNode:
    began, ended = (f"{each:%Y-%m-%d %H:%M:%S}" if each else "now" for each in (term.recorded, term.replaced))
    return MissingNode(
        what=f"version {term.version} was not the champion at {answered:%Y-%m-%d %H:%M:%S} UTC, when it answered",
        why=f"by the ledger it was from {began} to {ended} UTC (written then), so nobody let it answer",
        hint="was an alias moved behind the platform's back? 'fullcircle ledger show' has the entries around it",
    )


def _answer(row: LoggedRow) -> str:
    numbers = [(name, value) for name in row.answers if isinstance(value := row[name], float)]
    shown = sorted(numbers, key=lambda each: -each[1]) if len(numbers) > SHOWN_ANSWERS else numbers
    more = len(numbers) - SHOWN_ANSWERS
    said = ", ".join(f"{name} {in_digits(value)}" for name, value in shown[:SHOWN_ANSWERS])
    return f"{said} and {more:,} more" if more > 0 else said


def _short(value: object) -> object:
    """An input as it is; of an image, its size."""
    return f"{len(value)} values" if isinstance(value, list) else value
