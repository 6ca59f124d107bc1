"""Judges trained candidates against the current champion, registers the best, and releases or nominates it.

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
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.loop import progress
from fullcircle.loop.promotion.approval import nominate as nominate_version
from fullcircle.loop.promotion.release import release
from fullcircle.loop.retraining.replay_traffic import replay_window
from fullcircle.loop.retraining.select_challenger import Challenger, explain, nominate, register, save_verdict
from fullcircle.loop.retraining.train_candidates import Champion, Prepared, Trained, evaluate_candidate, load_champion
from fullcircle.loop.steps import Step
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Lease

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion, Split

MAX_JUDGEMENTS = 10
"""How often a challenger is judged, if the champion is another one each time."""


@dataclass(frozen=True)
class ReleaseRequest:
    """Why, by whom, for which time of the data and in whose name a challenger is released."""

    reason: str
    decided_by: str
    data_until: datetime
    lease: Lease


@dataclass(frozen=True, kw_only=True)
class RetrainContext:
    """All of a retrain that stays the same however often it is judged. `at` is the moment of its look."""

    project: Project
    workspace: Workspace
    prepared: Prepared
    learned_from: tuple[DataVersion, Split]
    parent: str
    at: datetime
    release: ReleaseRequest


@dataclass(frozen=True, kw_only=True)
class RegisteredChallenger:
    """A registered challenger with its verdict, and how every candidate, and the champion, did on the test rows."""

    challenger: Challenger
    evaluations: dict[str, Evaluation]
    version: ModelVersion


@dataclass(frozen=True, kw_only=True)
class ChampionMoved:
    """The release did not take place: another champion serves than the one that the verdict was taken against."""

    champion: str | None


def judge_and_release(
    context: RetrainContext,
    trained: list[Trained],
    champion: Champion | None,
    step: Step,
    still_ours: Callable[[], None],
) -> tuple[RegisteredChallenger, bool]:
    """Judge, register, and release or nominate; again when the champion changed meanwhile. Returns whether it serves.

    Args:
        still_ours: raises LeaseLost when somebody else does this work by now.

    Raises:
        ChampionChanged: it was another one each of `MAX_JUDGEMENTS` times.
    """
    explained = ""
    for _ in range(MAX_JUDGEMENTS):
        found = _registered(context, trained, champion, step, explained, still_ours)
        explained = found.challenger.trained.run_id
        promoted = step("release", _released, context, found, champion)
        if not isinstance(promoted, ChampionMoved):
            return found, promoted
        now = f"version {promoted.champion} serves" if promoted.champion else "no version serves"
        progress.current().note(f"{now} since the candidates were judged: they are judged again, against that one")
        champion = step(
            "load the champion", load_champion, context.project, context.workspace, context.prepared.frames.test
        )
        trained = [_against(context, one, champion) for one in trained]
    raise ChampionChanged(
        f"the challenger of {context.project.name} was judged {MAX_JUDGEMENTS} times, and each time the champion"
        " changed meanwhile",
        champion=champion.version.version if champion else None,
        hint=f"'fullcircle ledger show {context.project.name}' says who changes it",
    )


def _registered(
    context: RetrainContext,
    trained: list[Trained],
    champion: Champion | None,
    step: Step,
    explained: str,
    still_ours: Callable[[], None],
) -> RegisteredChallenger:
    """The challenger, judged and registered. `explained`: the run of one whose explanations are there already."""
    project, workspace, prepared = context.project, context.workspace, context.prepared
    challenger = step("judge", nominate, project, workspace, trained, champion, prepared, context.parent, context.at)
    challenger = step(
        "replay the last window", replay_window, project, workspace.settings, challenger, champion, context.at
    )
    step("keep the verdict", save_verdict, project, workspace, trained, challenger)
    if challenger.trained.run_id != explained:
        step("explain", explain, project, workspace, challenger, prepared)
    compared = _evaluations(context, trained, champion)
    shared = (prepared, context.learned_from, context.parent)
    version = step("register", register, project, workspace, challenger, compared, *shared, still_ours)
    return RegisteredChallenger(challenger=challenger, evaluations=compared, version=version)


def _against(context: RetrainContext, one: Trained, champion: Champion | None) -> Trained:
    return evaluate_candidate(
        context.project, one.framework, (one.run_id, one.key), one.fitted, context.prepared, champion
    )


def _released(context: RetrainContext, found: RegisteredChallenger, champion: Champion | None) -> bool | ChampionMoved:
    project, workspace, version, request = context.project, context.workspace, found.version, context.release
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
            reason=request.reason,
            decided_by=request.decided_by,
            data_until=request.data_until,
            against=against,
            lease=request.lease,
        )
    except ChampionChanged as error:
        return ChampionMoved(champion=error.champion)
    if change is release:
        progress.current().stage("release", f"version {version.version} is the {CHAMPION}")
        return True
    serving = f"version {champion.version.version} stays" if champion else "nothing is released"
    waits = f"version {version.version} waits for 'fullcircle approve', " if passed else ""
    progress.current().stage("release", f"{verdict.outcome}: {waits}{serving}")
    return False


def _evaluations(context: RetrainContext, trained: list[Trained], champion: Champion | None) -> dict[str, Evaluation]:
    found = {one.framework: one.evaluation for one in trained}
    if champion is not None:
        found["champion"] = evaluate(context.project, "champion", context.prepared.frames.test, champion.answers)
    return found
