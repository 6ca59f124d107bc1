"""The retrain budget and cooldown of a project, and idempotent triggers: each request of a schedule, event or hand runs
once.

A schedule and an event are refused when the policy's budget is spent or its cooldown is not over. A hand is not:
somebody is there who knows why, and is told. What a hand spends is held against the others all the same.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from fullcircle.core.errors import RetrainRefused, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.releases import CHAMPION
from fullcircle.loop import progress
from fullcircle.loop.clock import now
from fullcircle.loop.decide import refusal
from fullcircle.loop.retraining.latency_noise import retrains_that_count
from fullcircle.loop.workspace import Workspace
from fullcircle.store.decisions import Decisions
from fullcircle.store.retrain_requests import RetrainRow, Retrains, RetrainSource, RetrainState

MOST_CHARACTERS = 150
"""Of a key that somebody chose."""


@dataclass(frozen=True)
class RetrainTrigger:
    """Who asks for a retrain, and the wish's key: a second one with the same key is not done again."""

    source: RetrainSource = RetrainSource.HAND
    key: str = field(default_factory=lambda: f"hand:{uuid.uuid4().hex}")


def by_hand(key: str | None = None) -> RetrainTrigger:
    """A hand's wish, to be done once where it has a key. Raises UsageError for one that is too long to be kept."""
    if key is None:
        return RetrainTrigger()
    if not 0 < len(key) <= MOST_CHARACTERS:
        raise UsageError(f"--key must have 1 to {MOST_CHARACTERS} characters, and has {len(key)}")
    return RetrainTrigger(RetrainSource.HAND, f"hand:{key}")


def window_key(window: str) -> str:
    """The key of the retrain that a window's decision asks for: however many events say so, it is one."""
    return f"window:{window}"


def spent(project: Project, workspace: Workspace, but: str = "") -> tuple[datetime, ...]:
    """When retrains were made or decided that count, in the project's time, oldest first.

    A decision counts from the moment that it was recorded, unless its retrain gave the budget back.

    Args:
        but: key of a wish that is left out: what was decided within the budget is not held against its own retrain.
    """
    database = workspace.database
    rows = {row.key: row for row in Retrains(database).all(project.name)}
    asked = [row.at for row in rows.values() if row.is_spent and row.key != but]
    newest = {each.window: each for each in Decisions(database).all(project.name)}
    left = [each for each in newest.values() if window_key(each.window) not in {*rows, but}]
    return tuple(sorted([*asked, *retrains_that_count(project, workspace.settings, left)]))


def is_open(project: Project, workspace: Workspace, window: str) -> bool:
    """Whether the retrain that this window's decision asks for was neither made nor refused yet."""
    row = Retrains(workspace.database).get(project.name, window_key(window))
    return row is None or row.state is RetrainState.RETURNED


@contextlib.contextmanager
def claim_retrain(project: Project, workspace: Workspace, asked: RetrainTrigger, reason: str) -> Iterator[RetrainClaim]:
    """Do the retrain that was asked for in this block, while the project's lease is held.

    It is given back when the block fails, or says that nothing was compared (`RetrainClaim.give_back`).

    Raises:
        RetrainRefused: it was done already, or budget or cooldown forbid it. That is written down.
    """
    retrains, at = Retrains(workspace.database), now(project, workspace)
    retrains.cut_short(project.name)
    known = retrains.get(project.name, asked.key)
    if known is not None and known.state in (RetrainState.DONE, RetrainState.REFUSED):
        raise RetrainRefused(_known(known))
    why = refusal(at, project.policy, spent(project, workspace, but=asked.key))
    counts = _has_champion(project, workspace)
    retrains.begin(project.name, asked.key, source=asked.source, reason=reason, at=at, counts=counts)
    if why is not None and counts:
        if asked.source is not RetrainSource.HAND:
            retrains.end(project.name, asked.key, RetrainState.REFUSED, why)
            raise RetrainRefused(
                f"{project.name} is not retrained ({reason}): {why}",
                hint=f"'fullcircle run {project.name}' does it all the same",
            )
        progress.current().note(f"asked for by hand, although {why}")
    claim = RetrainClaim()
    try:
        yield claim
    except BaseException as error:
        retrains.end(project.name, asked.key, RetrainState.RETURNED, f"{type(error).__name__}")
        raise
    retrains.end(
        project.name, asked.key, RetrainState.RETURNED if claim.returned else RetrainState.DONE, claim.returned
    )


class RetrainClaim:
    """A retrain that is under way."""

    def __init__(self) -> None:
        self.returned = ""

    def give_back(self, why: str) -> None:
        """It ends without having compared anything: the budget is as it was."""
        self.returned = why


def _has_champion(project: Project, workspace: Workspace) -> bool:

    return workspace.registry.alias(project.name, CHAMPION) is not None


def _known(row: RetrainRow) -> str:
    did = (
        f"was refused before: {row.said}"
        if row.state is RetrainState.REFUSED
        else f"was made already, {row.at:%Y-%m-%d}"
    )
    return f"the retrain {row.key!r} of {row.project} {did}"
