"""From trained candidates to who serves: judged against the champion of the moment, registered, released or not.

A verdict counts only against the champion that it was taken against. If another one serves by the time of the release,
the same candidates are judged again, on the same rows, against that one; so it never happens that two retrains, or a
retrain and a human's rollback, pass each other by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.errors import ChampionChanged
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Judged
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.loop import progress
from fullcircle.loop.candidates import Champion, Prepared, Trained, evaluated, load_champion
from fullcircle.loop.challenger import Challenger, explain, keep_verdict, nominate, register
from fullcircle.loop.champion.approval import nominate as nominate_version
from fullcircle.loop.champion.release import release
from fullcircle.loop.shadow import replay_window
from fullcircle.loop.steps import Step
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion, Split

MOST = 10
"""How often a challenger is judged, if the champion is another one each time."""


@dataclass(frozen=True)
class Wish:
    """Why, by whom, for which time of the data and in whose name a challenger is released."""

    reason: str
    decided_by: str
    data_until: datetime
    lease: Lease


@dataclass(frozen=True, kw_only=True)
class Case:
    """All of a retrain that stays the same however often it is judged. `at` is the moment of its look."""

    project: Project
    workspace: Workspace
    prepared: Prepared
    learned_from: tuple[DataVersion, Split]
    parent: str
    at: datetime
    release: Wish


@dataclass(frozen=True, kw_only=True)
class Presented:
    """A registered challenger with its verdict, and how every candidate, and the champion, did on the test rows."""

    challenger: Challenger
    evaluations: dict[str, Evaluation]
    version: ModelVersion


@dataclass(frozen=True, kw_only=True)
class Overtaken:
    """The release did not take place: another champion serves than the one that the verdict was taken against."""

    champion: str | None


def taken_over(
    case: Case, trained: list[Trained], champion: Champion | None, step: Step, still_ours: Callable[[], None]
) -> tuple[Presented, bool]:
    """Judge, register, and release or nominate; again when the champion changed meanwhile. Returns whether it serves.

    Args:
        still_ours: raises LeaseLost when somebody else does this work by now.

    Raises:
        ChampionChanged: it was another one each of `MOST` times.
    """
    explained = ""
    for _ in range(MOST):
        found = _presented(case, trained, champion, step, explained, still_ours)
        explained = found.challenger.trained.run_id
        promoted = step("release", _released, case, found, champion)
        if not isinstance(promoted, Overtaken):
            return found, promoted
        now = f"version {promoted.champion} serves" if promoted.champion else "no version serves"
        progress.current().note(f"{now} since the candidates were judged: they are judged again, against that one")
        champion = step("load the champion", load_champion, case.project, case.workspace, case.prepared.frames.test)
        trained = [_against(case, one, champion) for one in trained]
    raise ChampionChanged(
        f"the challenger of {case.project.name} was judged {MOST} times, and each time the champion changed meanwhile",
        champion=champion.version.version if champion else None,
        hint=f"'fullcircle ledger show {case.project.name}' says who changes it",
    )


def _presented(
    case: Case,
    trained: list[Trained],
    champion: Champion | None,
    step: Step,
    explained: str,
    still_ours: Callable[[], None],
) -> Presented:
    """The challenger, judged and registered. `explained`: the run of one whose explanations are there already."""
    project, workspace, prepared = case.project, case.workspace, case.prepared
    challenger = step("judge", nominate, project, workspace, trained, champion, prepared, case.parent, case.at)
    challenger = step(
        "replay the last window", replay_window, project, workspace.settings, challenger, champion, case.at
    )
    step("keep the verdict", keep_verdict, project, workspace, trained, challenger)
    if challenger.trained.run_id != explained:
        step("explain", explain, project, workspace, challenger, prepared)
    compared = _evaluations(case, trained, champion)
    shared = (prepared, case.learned_from, case.parent)
    version = step("register", register, project, workspace, challenger, compared, *shared, still_ours)
    return Presented(challenger=challenger, evaluations=compared, version=version)


def _against(case: Case, one: Trained, champion: Champion | None) -> Trained:
    return evaluated(case.project, one.framework, (one.run_id, one.key), one.fitted, case.prepared, champion)


def _released(case: Case, found: Presented, champion: Champion | None) -> bool | Overtaken:
    project, workspace, version, wish = case.project, case.workspace, found.version, case.release
    verdict = found.challenger.verdict
    passed, against = (
        verdict.outcome is Outcome.PROMOTE,
        Judged(champion=champion.version.version if champion else None),
    )
    change = release if passed and project.approval != "human" else nominate_version
    try:
        change(
            project,
            workspace,
            version,
            reason=wish.reason,
            decided_by=wish.decided_by,
            data_until=wish.data_until,
            against=against,
            lease=wish.lease,
        )
    except ChampionChanged as error:
        return Overtaken(champion=error.champion)
    if change is release:
        progress.current().stage("release", f"version {version.version} is the {CHAMPION}")
        return True
    serving = f"version {champion.version.version} stays" if champion else "nothing is released"
    waits = f"version {version.version} waits for 'fullcircle approve', " if passed else ""
    progress.current().stage("release", f"{verdict.outcome}: {waits}{serving}")
    return False


def _evaluations(case: Case, trained: list[Trained], champion: Champion | None) -> dict[str, Evaluation]:
    from fullcircle.evaluation.evaluate import evaluate

    found = {one.framework: one.evaluation for one in trained}
    if champion is not None:
        found["champion"] = evaluate(case.project, "champion", case.prepared.frames.test, champion.probability)
    return found
