"""A look at a challenger is reserved, then taken, and given back where nothing was compared.

The looks are tags of the retrains' runs. `compared` is written before anyone compares: a retrain that is killed
afterwards has spent its share, whatever it saw, and one that is judged again takes no second one. A reservation counts
while its retrain is at work; of one that ended, was killed or failed before it compared, nothing is spent.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.evaluation.spending import Look, Spent
    from fullcircle.tracking.runs import Tracker

AT, LEVEL, STATE = "fullcircle.look.at", "fullcircle.look.level", "fullcircle.look.state"
"""Tags of a retrain's run: when it was to hold a challenger against a champion (time of the data), the level that this
spends, and how far it came. A look from before there were states was compared."""


class Reserved:
    """The share of one retrain. `look.level` may be spent once `compare` returned."""

    def __init__(self, tracker: Tracker, run_id: str, look: Look, *, compared: bool) -> None:
        self.look = look
        self.compared = compared
        self._tracker, self._run_id = tracker, run_id

    def compare(self) -> None:
        """Spend the share, for good. Call it before the metrics are compared; safe to call twice.

        Raises TrackingUnavailable when that cannot be written down: then nothing may be compared.
        """
        from fullcircle.evaluation.spending import LookState

        if not self.compared:
            self._tracker.append(self._run_id).tags({STATE: str(LookState.COMPARED)})
            self.compared = True


@contextlib.contextmanager
def reserved(project: Project, settings: Settings, run_id: str, at: datetime) -> Iterator[Reserved]:
    """The look of the retrain `run_id` at `at`, given back at the end of the block unless it was compared."""
    from fullcircle.evaluation.spending import LookState
    from fullcircle.store.locks import exclusive
    from fullcircle.tracking.runs import Tracker

    tracker = Tracker(settings)
    with exclusive(settings.folder("locks") / f"looks-{project.name}.lock"):
        look, compared = _next(project, settings, run_id, at)
        if not compared:
            state = {AT: at.isoformat(), LEVEL: repr(look.level), STATE: str(LookState.RESERVED)}
            tracker.append(run_id).tags(state)
    taken = Reserved(tracker, run_id, look, compared=compared)
    try:
        yield taken
    finally:
        if not taken.compared:
            # Should the tracker be away: a reservation of a run that ended counts for nothing either.
            with contextlib.suppress(FullcircleError):
                tracker.append(run_id).tags({STATE: str(LookState.RETURNED)})


def _next(project: Project, settings: Settings, run_id: str, at: datetime) -> tuple[Look, bool]:
    """The look, and whether this very retrain has compared already: then it is the same again."""
    from fullcircle.evaluation.spending import next_look

    taken = dict(_taken(project, settings, run_id))
    own = taken.pop(run_id, None)
    look = next_look(project.evidence, tuple(taken.values()), own.at if own else at)
    return (dataclasses.replace(look, level=own.level), True) if own else (look, False)


def _taken(project: Project, settings: Settings, own: str) -> Iterator[tuple[str, Spent]]:
    """(run id, its look) of those that count. A run in the trash counts all the same: tidying up refills no budget."""
    from fullcircle.evaluation.spending import Spent
    from fullcircle.tracking.ancestry.client import Ancestry

    for run in Ancestry(settings).runs("tags.`fullcircle.kind` = 'retrain'"):
        at_work = run.status == "RUNNING" and run.run_id != own
        if run.project == project.name and AT in run.tags and _counts(run.tags, at_work=at_work):
            yield run.run_id, Spent(at=datetime.fromisoformat(run.tags[AT]), level=float(run.tags[LEVEL]))


def _counts(tags: Mapping[str, str], *, at_work: bool) -> bool:
    from fullcircle.evaluation.spending import LookState, is_spent

    return is_spent(LookState(tags.get(STATE, LookState.COMPARED)), at_work=at_work)
