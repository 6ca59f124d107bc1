"""Reads a window of predictions and judges it: by its rows while they are few, else by the log's fingerprints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Column, Project
from fullcircle.core.records.health import Health, Window
from fullcircle.core.records.releases import PREVIOUS, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.retraining.select_challenger import REFERENCE
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.fingerprint_drift import BY_ROWS
from fullcircle.monitoring.health import assess_fingerprints, assess_window, needs_rows
from fullcircle.predictions import log_reader
from fullcircle.predictions.fingerprints.reader import WindowPrint, fingerprints
from fullcircle.predictions.window_sample import window_sample
from fullcircle.tracking.runs.run_schema import score_tag

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenWindow:
    """A window and how it was read.

    Attributes:
        folder: of the prediction log.
        prints: the window's fingerprints, of which its rows and labels are counts.
        rows: all of its rows; None where they are more than `BY_ROWS`.
    """

    project: Project
    folder: Path
    window: Window
    prints: WindowPrint
    rows: pd.DataFrame | None

    def sample(self) -> pd.DataFrame:
        """The rows, of a large window about `BY_ROWS` of them, seeded: as `log_reader.window` and `window_sample`
        return them."""
        return self.rows if self.rows is not None else self._sample

    def labelled(self, columns: Sequence[Column]) -> pd.DataFrame:
        """About `BY_ROWS` of a large window's labelled rows, with these inputs."""
        return self._drawn(self.window.labelled, columns, labelled_only=True)

    @functools.cached_property
    def _sample(self) -> pd.DataFrame:
        return self._drawn(self.window.rows, None)

    def _drawn(self, of: int, columns: Sequence[Column] | None, *, labelled_only: bool = False) -> pd.DataFrame:
        return window_sample(
            self.project,
            self.folder,
            self.window.start,
            self.window.end,
            share=BY_ROWS / max(of, 1),
            columns=columns,
            labelled_only=labelled_only,
        )


def read_window(project: Project, settings: Settings, start: datetime, end: datetime) -> SeenWindow:
    """The window's predictions with the labels known so far: their fingerprints, and their rows where they are few."""
    folder = settings.folder("predictions", project.name)
    prints = fingerprints(project, folder, start, end)
    total = prints.total
    if total is None or total.rows <= BY_ROWS:
        found, rows = log_reader.window(project, folder, start, end)
    else:
        versions = tuple(sorted(prints.versions, key=log_reader.by_number))
        rows = None
        found = Window(
            project=project.name, start=start, end=end, rows=total.rows, labelled=total.labelled, versions=versions
        )
    progress.current().stage("watch", f"{found.name}: {found.rows:,} predictions, {found.labelled:,} labels")
    return SeenWindow(project=project, folder=folder, window=found, prints=prints, rows=rows)


def load_reference(workspace: Workspace, champion: ModelVersion) -> pd.DataFrame:
    """A sample of the champion's training rows with its own answers: raw inputs, the columns of an answer,
    row id."""
    import pandas as pd

    return pd.read_parquet(workspace.run_store.download(champion.run_id, REFERENCE))


def judge_window(
    project: Project, workspace: Workspace, seen: SeenWindow, reference: pd.DataFrame, champion: ModelVersion
) -> Health:
    """Drift, quality and realised performance, with the previous champion's answers beside the champion's."""
    score = champion.tags.get(score_tag(project.target))
    expected = float(score) if score else None
    if seen.rows is not None:
        health = assess_window(
            project,
            seen.window,
            seen.rows,
            reference,
            champion_version=champion.version,
            expected=expected,
            previous=previous_answers(project, workspace, seen.rows),
        )
    else:
        before = workspace.registry.alias(project.name, PREVIOUS)
        labelled = seen.labelled(project.inputs if before is not None else ())
        health = assess_fingerprints(
            project,
            seen.window,
            seen.prints.versions,
            labelled,
            reference,
            champion_version=champion.version,
            expected=expected,
            previous=previous_answers(project, workspace, labelled),
            rows=seen.sample() if needs_rows(project) else None,
        )
    worst = f": {', '.join(health.drifted[:4])}" if health.drifted else ""
    progress.current().stage("drift", f"{len(health.drifted)} of {len(health.columns)} columns{worst}")
    return health


def previous_answers(project: Project, workspace: Workspace, rows: pd.DataFrame) -> NDArray[np.float32] | None:
    """What the previous champion would have answered; None where there is none, or it knew other classes."""
    registry = workspace.registry
    before = registry.alias(project.name, PREVIOUS)
    if before is None or rows.empty:
        return None
    graph = Graph.load(registry.graph(before), digest=before.digest)
    wanted = project.target.answers.numbers
    # The names, not their number alone: a class may have been renamed, and old graphs of one number call it anything.
    return graph(rows) if len(wanted) == len(graph.answers) == 1 or graph.answers == wanted else None
