"""Retrains whose verdict is open only because latency was too noisy: they cost no retrain budget and no cooldown.

The note is a tag of the retrain's run. Which decision it came of is told by the reason, which a retrain takes from the
decision that asked for it; one that was asked for by hand came of none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from fullcircle.core.project import Project
from fullcircle.core.records.health import Retrain
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.reader.mlflow_reader import MlflowReader
from fullcircle.tracking.runs.run_tags import NOISY, REASON, filters
from fullcircle.tracking.ui.review import VERDICT

if TYPE_CHECKING:
    from fullcircle.store.decisions import DecisionRow


class DatedRetrain(NamedTuple):
    """A retrain that was decided or carried out: when (time of the data), and why."""

    at: datetime
    reason: str


def note_noise(workspace: Workspace, run_id: str, at: datetime) -> None:
    """Note with the retrain `run_id` that its verdict is open for nothing but noise."""
    workspace.run_store.append(run_id).tags({NOISY: at.isoformat()})


def retrains_that_count(project: Project, settings: Settings, decided: Sequence[DecisionRow]) -> tuple[datetime, ...]:
    """When retrains were decided that cooldown and budget count, oldest first."""
    asked = [DatedRetrain(row.at, row.decision.reason) for row in decided if isinstance(row.decision, Retrain)]
    return without_noise(asked, _noisy(project, settings) if asked else [])


def without_noise(decided: Sequence[DatedRetrain], noisy: Sequence[DatedRetrain]) -> tuple[datetime, ...]:
    """The moments of `decided`, oldest first, without the newest one before each of `noisy` with the same reason."""
    left = sorted(decided)
    for run in sorted(noisy):
        before = [each for each in left if each.reason == run.reason and each.at <= run.at]
        if before:
            left.remove(before[-1])
    return tuple(each.at for each in left)


def _noisy(project: Project, settings: Settings) -> list[DatedRetrain]:
    found, reader = [], MlflowReader(settings)
    for run in (run for where in filters(NOISY, "!= ''") for run in reader.runs(where)):
        # Judged again since, it may have come to a verdict after all.
        if run.project == project.name and run.tags.get(VERDICT) in (None, Outcome.INCONCLUSIVE):
            found.append(DatedRetrain(datetime.fromisoformat(run.tags[NOISY]), run.tags.get(REASON, "")))
    return found
