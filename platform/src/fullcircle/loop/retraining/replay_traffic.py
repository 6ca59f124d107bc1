"""Replays the last window's logged requests through the challenger and compares it with the champion, before
promotion."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.evaluation.disagreement import disagreement, with_agreement
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.retraining.train_candidates import stable_seed
from fullcircle.predictions.log_reader import window

if TYPE_CHECKING:
    from fullcircle.core.records.disagreement import Disagreement
    from fullcircle.loop.retraining.select_challenger import Challenger
    from fullcircle.loop.retraining.train_candidates import Champion

SAMPLE = 5_000
SAMPLE_VALUES = 20_000_000
"""Most numbers in the sample where a row is an image: 80 MB. 200 rows are taken in any case."""


def replay_window(
    project: Project, settings: Settings, challenger: Challenger, champion: Champion | None, at: datetime
) -> Challenger:
    """Hold the challenger against the champion on a sample of the rows logged in the window that ends at `at`.

    It informs: only a project with an `AgreementGate` gate lets it change the verdict. A log that cannot be read is
    said and otherwise taken for an empty one.
    """
    if champion is None:
        return challenger
    try:
        found = replay_answers(project, settings, challenger.candidate.graph, champion, at)
    except DataUnavailable as error:
        progress.current().note(f"the last window's predictions cannot be compared: {error}")
        found = None
    if found is None:
        progress.current().stage("replay the last window", "no logged rows")
    else:
        most = f", most in {found.groups[0].column} = {found.groups[0].group}" if found.groups else ""
        detail = f"{found.rows:,} logged rows, {found.share:.1%} differ by more than {found.margin:g}{most}"
        progress.current().stage("replay the last window", detail)
    verdict = with_agreement(challenger.verdict, project, found)
    return dataclasses.replace(challenger, verdict=verdict, disagreement=found)


def replay_answers(
    project: Project, settings: Settings, graph: Path, champion: Champion, at: datetime
) -> Disagreement | None:
    """A graph's answers beside the champion's, on a sample of the rows that were logged in the window ending at `at`.

    The champion's are those of the log where it gave them. None: nothing was logged. Raises DataUnavailable when the
    log is damaged.
    """
    start = at - project.watch.window
    _, rows = window(project, settings.folder("predictions", project.name), start, at)
    if rows.empty:
        return None
    largest = max(column.values for column in project.inputs)
    count = min(SAMPLE, max(200, SAMPLE_VALUES // largest), len(rows))
    rows = rows.sample(count, random_state=stable_seed(project.name, "replay")).sort_index().reset_index(drop=True)
    own = (rows["model_version"] == champion.version.version).to_numpy()
    answers = project.target.answers.of(rows).copy()
    if not own.all():
        answers[~own] = champion.score(rows[~own])
    return disagreement(
        project,
        rows,
        champion=answers,
        challenger=Graph.load(graph)(rows),
        answered=int(own.sum()),
        start=start,
        end=at,
    )
