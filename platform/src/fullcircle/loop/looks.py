"""Each look at a challenger is written down, with what it spends of the error budget, before anyone looks.

The looks are tags of the retrains' runs: a retrain that was stopped and is judged again takes no second one.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.evaluation.spending import Look, Spent

AT, LEVEL = "fullcircle.look.at", "fullcircle.look.level"
"""Tags of a retrain's run: when it held a challenger against a champion (time of the data), and the level it spent."""


def take_look(project: Project, settings: Settings, run_id: str, at: datetime) -> Look:
    """The look of the retrain `run_id` at `at`: written down once, and asked for again, the same again."""
    from fullcircle.evaluation.spending import next_look
    from fullcircle.tracking.runs import Tracker

    tracker = Tracker(settings)
    taken = _taken(project, settings)
    own = taken.pop(run_id, None)
    look = next_look(project.evidence, tuple(taken.values()), own.at if own else at)
    if own is not None:
        return dataclasses.replace(look, level=own.level)
    tracker.append(run_id).tags({AT: at.isoformat(), LEVEL: repr(look.level)})
    return look


def _taken(project: Project, settings: Settings) -> dict[str, Spent]:
    """Run id -> the look that it took. A run in the trash took it all the same: tidying up refills no budget."""
    from fullcircle.evaluation.spending import Spent
    from fullcircle.tracking.ancestry.client import Ancestry

    return {
        run.run_id: Spent(at=datetime.fromisoformat(run.tags[AT]), level=float(run.tags[LEVEL]))
        for run in Ancestry(settings).runs("tags.`fullcircle.kind` = 'retrain'")
        if run.project == project.name and AT in run.tags and LEVEL in run.tags
    }
