"""Backward lineage: from one logged prediction to all that it came from. What is missing is named and skipped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fullcircle.core.errors import UsageError
from fullcircle.core.records.lineage_trace import Trace
from fullcircle.core.settings import Settings
from fullcircle.loop.clock import is_replayed
from fullcircle.loop.lineage import deployment_nodes, provenance_nodes
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.ids import canonical_id, time_of_id
from fullcircle.predictions.lookup import LoggedRow, beginning_with, find, nearest, of_row
from fullcircle.tracking.reader.open_reader import open_reader

SHORTEST_BEGINNING = 8
"""Characters of an id: fewer would fit everything that was answered within a minute."""


def trace(workspace: Workspace, prediction_id: str, *, project: str | None = None, checkout: Path) -> Trace:
    """All that a prediction came from, link by link.

    Args:
        prediction_id: an id, or a beginning of one that fits one prediction alone; dashes and capitals do not matter.
        project: look in its log only; None: in the logs of all projects of this home.
        checkout: a folder in the git checkout in which the commit is looked for.

    Raises:
        UsageError: no such prediction, with the nearest; or several that begin so; or no such project.
        TrackingUnavailable: MLflow does not answer, so nothing can be said of what it has.
        DataUnavailable: a file of the log that may hold it is damaged.
    """
    from fullcircle.store.champion_ledger import Ledger

    name, row = _located(workspace.settings, prediction_id, projects(workspace.settings, project))
    reader = open_reader(workspace.settings)
    version = reader.version(name, str(row["model_version"]))
    run = reader.run(version.run_id) if version else reader.run_of_graph(str(row["model_digest"]))
    parent = run.parent if run else version.tags.get("fullcircle.retrain", "") if version else ""
    # A retrain keeps code, environment and data with its own run, too.
    origin = run or (reader.run(parent) if parent else None)
    entries = Ledger(workspace.database).entries(name)
    answered = row["logged_at"]
    assert isinstance(answered, datetime)
    return Trace(
        prediction_id=str(row["prediction_id"]),
        project=name,
        links=(
            deployment_nodes.prediction(name, row),
            deployment_nodes.model_version(name, row, version),
            deployment_nodes.run(run, version),
            provenance_nodes.code(reader, origin, checkout),
            provenance_nodes.environment(reader, origin),
            provenance_nodes.data(workspace, reader, origin, version, entries, str(row["model_version"])),
            deployment_nodes.verdict(reader, run, version),
            deployment_nodes.release(
                name,
                entries,
                str(row["model_version"]),
                str(row["model_digest"]),
                answered,
                replayed=is_replayed(name, workspace),
            ),
        ),
    )


def predictions_of_row(settings: Settings, row_id: str, *, project: str | None = None) -> tuple[str, ...]:
    """The ids of all predictions that answered a row, in the order in which they were made.

    Raises:
        UsageError: none did, or there is no such project.
    """
    known = projects(settings, project)
    found = sorted(id_ for name in known for id_ in of_row(_log(settings, name), row_id))
    if not found:
        raise UsageError(
            f"no prediction of a row {row_id!r} in {_named(known)}", hint="ids of rows are the caller's own"
        )
    return tuple(found)


def projects(settings: Settings, project: str | None) -> tuple[str, ...]:
    """The projects of this home that have a prediction log, or this one. Raises UsageError when it has none."""
    import difflib

    known = tuple(sorted(path.name for path in (settings.home / "predictions").glob("*") if path.is_dir()))
    if project is None or project in known:
        return known if project is None else (project,)
    near = difflib.get_close_matches(project, known, n=3, cutoff=0.3)
    hint = f"did you mean {', '.join(near)}?" if near else f"those that have: {', '.join(known) or 'none'}"
    raise UsageError(f"project {project!r} has no prediction log in {settings.home}", hint=hint)


def _located(settings: Settings, prediction_id: str, known: Sequence[str]) -> tuple[str, LoggedRow]:
    """(project, logged row) of a prediction."""
    wanted = canonical_id(prediction_id)
    for name in known:
        if (row := find(_log(settings, name), wanted)) is not None:
            return name, row
    if len(wanted) >= SHORTEST_BEGINNING:
        begin = [(name, id_) for name in known for id_ in beginning_with(_log(settings, name), wanted)]
        if len(begin) > 1:
            hint = f"say which: {', '.join(id_ for _, id_ in begin[:5])}"
            raise UsageError(f"more than one prediction begins with {prediction_id!r}", hint=hint)
        for name, id_ in begin:
            if (row := find(_log(settings, name), id_)) is not None:
                return name, row
    raise UsageError(f"no prediction {prediction_id!r} in {_named(known)}", hint=_nearest(settings, wanted, known))


def _nearest(settings: Settings, wanted: str, known: Sequence[str]) -> str:
    import difflib

    near = [id_ for name in known for id_ in nearest(_log(settings, name), wanted)]
    if not near:
        return "nothing was logged yet; 'fullcircle serve' answers and logs"
    near = difflib.get_close_matches(wanted, near, n=3, cutoff=0.0)
    return "the nearest are " + ", ".join(f"{id_} (of {time_of_id(id_):%Y-%m-%d %H:%M:%S} UTC)" for id_ in near)


def _log(settings: Settings, name: str) -> Path:
    return settings.home / "predictions" / name


def _named(known: Sequence[str]) -> str:
    return f"the log of {', '.join(known)}" if known else "this home, which has no prediction log"
