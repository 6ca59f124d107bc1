"""A look at a challenger is reserved, then taken, and given back where nothing was compared.

A look is a tag of the retrain's run. `compared` is written before anyone compares: a retrain that is killed
afterwards has spent its share, whatever it saw, and one that is judged again takes no second one. A reservation counts
while its retrain is at work; of one that ended, was killed or failed before it compared, nothing is spent.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.alpha_spending import AnalysisState, PastAnalysis, is_spent, next_analysis
from fullcircle.loop.workspace import Workspace
from fullcircle.store.file_locks import exclusive
from fullcircle.tracking.reader.mlflow_reader import MlflowReader
from fullcircle.tracking.runs.run_tags import KIND, LOOK, NOISY, packed, parts
from fullcircle.tracking.ui.review import VERDICT

if TYPE_CHECKING:
    from fullcircle.evaluation.alpha_spending import Analysis
    from fullcircle.tracking.runs.run_store import RunStore

AT, LEVEL, STATE, AGAINST, SHARE = "at", "level", "state", "against", "share"
"""What the tag `LOOK` of a retrain's run says: when it was to hold a challenger against a champion (time of the data),
the level that it spends in all, how far it came, against which version last, and the share of that one. A look from
before there were states was compared. One tag: it is never half of one look and half of another."""


class ReservedAnalysis:
    """The share of one retrain. `analysis.level` may be spent once `compare` returned."""

    def __init__(
        self, run_store: RunStore, run_id: str, analysis: Analysis, *, spent: Mapping[str, str], compared: bool
    ) -> None:
        self.analysis = analysis
        self.compared = compared
        self._run_store, self._run_id, self._spent = run_store, run_id, spent

    def compare(self) -> None:
        """Spend the share, for good. Call it before the metrics are compared; safe to call twice.

        Raises TrackingUnavailable when that cannot be written down: then nothing may be compared.
        """
        if not self.compared:
            self._run_store.append(self._run_id).tags({LOOK: packed(self._spent)})
            self.compared = True


@contextlib.contextmanager
def reserve_analysis(
    project: Project, workspace: Workspace, run_id: str, at: datetime, against: str
) -> Iterator[ReservedAnalysis]:
    """The look of the retrain `run_id` at `at`, given back at the end of the block unless it was compared.

    Args:
        against: version of the champion. A retrain that is judged again against the same one takes no second look;
            against another one it does: that is another chance to be wrong.
    """
    run_store = workspace.run_store
    with exclusive(workspace.settings.folder("locks") / f"looks-{project.name}.lock"):
        analysis, earlier = _next(project, workspace.settings, run_id, at, against)
        again = earlier is not None and earlier.against == against
        level = analysis.level + (earlier.level if earlier else 0.0)
        spent = {AT: at.isoformat(), LEVEL: repr(level), AGAINST: against, SHARE: repr(analysis.level)}
        spent[STATE] = str(AnalysisState.COMPARED)
        if earlier is None:
            run_store.append(run_id).tags({LOOK: packed({**spent, STATE: str(AnalysisState.RESERVED)})})
    taken = ReservedAnalysis(run_store, run_id, analysis, spent=spent, compared=again)
    try:
        yield taken
    finally:
        if earlier is None and not taken.compared:
            # Should the tracker be away: a reservation of a run that ended counts for nothing either.
            with contextlib.suppress(FullcircleError):
                run_store.append(run_id).tags({LOOK: packed({**spent, STATE: str(AnalysisState.RETURNED)})})


def nothing_compared(workspace: Workspace, run_id: str) -> str:
    """Why the retrain `run_id` costs no budget: it gave its look back, or the machine was too busy for a verdict. ""
    when it compared, or had nothing to compare with."""
    tags = workspace.run_store.state(run_id).tags
    if tags.get(VERDICT) == Outcome.INCONCLUSIVE and NOISY in tags:
        return "the machine was too busy for a verdict"
    return "it ended without a comparison" if parts(tags, LOOK).get(STATE) == AnalysisState.RETURNED else ""


@dataclass(frozen=True)
class _PastAnalysis:
    """A look that counts, of some run."""

    at: datetime
    level: float
    share: float
    against: str | None


def _next(
    project: Project, settings: Settings, run_id: str, at: datetime, against: str
) -> tuple[Analysis, _PastAnalysis | None]:
    """The look, and what this very retrain has compared before."""
    taken = dict(_past_analyses(project, settings, run_id))
    own = taken.get(run_id)
    if own is not None and own.against in (None, against):
        del taken[run_id]
        own = dataclasses.replace(own, against=against)
        analysis = next_analysis(
            project.evidence, [PastAnalysis(at=one.at, level=one.level) for one in taken.values()], own.at
        )
        return dataclasses.replace(analysis, level=own.share), own
    return next_analysis(
        project.evidence, [PastAnalysis(at=one.at, level=one.level) for one in taken.values()], at
    ), own


def _past_analyses(project: Project, settings: Settings, own: str) -> Iterator[tuple[str, _PastAnalysis]]:
    """(run id, its look) of those that count. A run in the trash counts all the same: tidying up refills no budget."""
    for run in MlflowReader(settings).runs(f"tags.`{KIND}` = 'retrain'"):
        at_work = run.status == "RUNNING" and run.run_id != own
        analysis = parts(run.tags, LOOK)
        if run.project == project.name and AT in analysis and _counts(analysis, at_work=at_work):
            at, level = datetime.fromisoformat(analysis[AT]), float(analysis[LEVEL])
            yield run.run_id, _PastAnalysis(at, level, float(analysis.get(SHARE, level)), analysis.get(AGAINST))


def _counts(analysis: Mapping[str, str], *, at_work: bool) -> bool:
    return is_spent(AnalysisState(analysis.get(STATE, AnalysisState.COMPARED)), at_work=at_work)
