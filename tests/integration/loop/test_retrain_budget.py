"""One budget of retrains for schedule, event and hand, and each wish done once: on a real registry and database."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from fullcircle.core.errors import RetrainRefused
from fullcircle.core.project import Policy, Project
from fullcircle.core.records.health import Keep, Retrain
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.loop.promotion.release import release
from fullcircle.loop.retraining.retrain_budget import RetrainTrigger, claim_retrain, is_open, spent, window_key
from fullcircle.loop.workspace import Workspace
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.store.retrain_requests import Retrains, RetrainSource, RetrainState

DAY = timedelta(days=1)


@pytest.fixture
def project(project: Project, settings: Settings) -> Project:
    """Two retrains a year, as close together as one likes."""
    return dataclasses.replace(project, policy=Policy(max_retrains=2, cooldown=timedelta(0)))


@pytest.fixture
def champion(project: Project, settings: Settings, make: Callable[..., ModelVersion]) -> ModelVersion:
    version = make()
    release(project, Workspace(settings), version, reason="first", decided_by="gate")
    return version


def schedule(number: int) -> RetrainTrigger:
    return RetrainTrigger(RetrainSource.SCHEDULE, f"schedule:weekly:{number}")


def do(project: Project, settings: Settings, asked: RetrainTrigger, *, nothing_compared: str = "") -> None:
    with claim_retrain(project, Workspace(settings), asked, "because") as claim:
        if nothing_compared:
            claim.give_back(nothing_compared)


def states(project: Project, settings: Settings) -> list[str]:
    return [str(row.state) for row in Retrains(Database(settings)).all(project.name)]


def decide(project: Project, settings: Settings, window: str, decision: Retrain | Keep) -> None:
    Decisions(Database(settings)).record(project.name, window, decision, at=datetime.now(UTC), evidence={})


def test_a_schedule_is_refused_when_the_budget_is_spent_and_that_is_written_down(
    project: Project, settings: Settings, champion: ModelVersion
) -> None:
    for number in range(2):
        do(project, settings, schedule(number))
    with pytest.raises(RetrainRefused, match=r"not retrained \(because\): the budget of 2 retrains in 365 days is spe"):
        do(project, settings, schedule(2))
    assert states(project, settings) == ["done", "done", "refused"]
    with pytest.raises(RetrainRefused, match="was refused before: the budget of 2"):
        do(project, settings, schedule(2))
    assert len(spent(project, Workspace(settings))) == 2


def test_a_hand_is_not_refused_and_what_it_spends_is_held_against_the_schedule(
    project: Project, settings: Settings, champion: ModelVersion
) -> None:
    for _ in range(3):
        do(project, settings, RetrainTrigger())
    with pytest.raises(RetrainRefused, match="the budget of 2 retrains"):
        do(project, settings, schedule(0))


def test_a_schedule_keeps_the_cooldown_too(project: Project, settings: Settings, champion: ModelVersion) -> None:
    slow = dataclasses.replace(project, policy=Policy(max_retrains=50, cooldown=20 * DAY))
    do(slow, settings, schedule(0))
    with pytest.raises(RetrainRefused, match=r"the last retrain was 0 days ago \(cooldown: 20\)"):
        do(slow, settings, schedule(1))


def test_fifty_events_of_one_window_are_one_retrain(
    project: Project, settings: Settings, champion: ModelVersion
) -> None:
    decide(project, settings, "2013-06", Retrain(reason="drift"))
    assert is_open(project, Workspace(settings), "2013-06")
    event = RetrainTrigger(RetrainSource.EVENT, window_key("2013-06"))
    do(project, settings, event)
    for _ in range(49):
        with pytest.raises(RetrainRefused, match="was made already"):
            do(project, settings, event)
    assert len(spent(project, Workspace(settings))) == 1
    assert not is_open(project, Workspace(settings), "2013-06"), "so the decision is not said again"


def test_a_decision_counts_as_soon_as_it_is_recorded_but_not_against_its_own_retrain(
    project: Project, settings: Settings, champion: ModelVersion
) -> None:
    for window in ("2013-06", "2013-07"):
        decide(project, settings, window, Retrain(reason=f"drift in {window}"))
    decide(project, settings, "2013-08", Keep(reason="well"))
    assert len(spent(project, Workspace(settings))) == 2
    do(project, settings, RetrainTrigger(RetrainSource.EVENT, window_key("2013-07")))
    with pytest.raises(RetrainRefused, match="the budget of 2"):
        do(project, settings, schedule(0))


@pytest.mark.parametrize("asked", [schedule(0), RetrainTrigger(RetrainSource.EVENT, window_key("2013-06"))])
def test_one_that_failed_or_compared_nothing_gives_its_part_back_and_may_be_asked_for_again(
    asked: RetrainTrigger, project: Project, settings: Settings, champion: ModelVersion
) -> None:
    decide(project, settings, "2013-06", Retrain(reason="drift"))
    with pytest.raises(ZeroDivisionError), claim_retrain(project, Workspace(settings), asked, "because"):
        raise ZeroDivisionError
    do(project, settings, asked, nothing_compared="it ended without a comparison")
    assert states(project, settings) == ["returned"]
    before = len(spent(project, Workspace(settings)))
    do(project, settings, asked)
    assert states(project, settings) == ["done"]
    assert len(spent(project, Workspace(settings))) == before + 1


def test_one_that_was_killed_is_given_back_by_whoever_comes_next(
    project: Project, settings: Settings, champion: ModelVersion
) -> None:
    program = f"""
import os, signal
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.retrain_budget import RetrainTrigger, claim_retrain
from fullcircle.loop.workspace import Workspace
from fullcircle.core.project import Binary, Number, Project
from fullcircle.store.retrain_requests import RetrainSource
project = Project(name={project.name!r}, owner="o@example.com", columns=(Number("x"),), time="hour", row_id="id",
                  target=Binary("y", positive="yes"), torch=lambda inputs, params: None)
settings = Settings.from_env({{"FULLCIRCLE_HOME": {str(settings.home)!r}}})
with claim_retrain(project, Workspace(settings), RetrainTrigger(RetrainSource.SCHEDULE, "k"), "r"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert states(project, settings) == ["running"]
    do(project, settings, schedule(1))
    rows = {row.key: row.state for row in Retrains(Database(settings)).all(project.name)}
    assert rows == {"k": RetrainState.RETURNED, "schedule:weekly:1": RetrainState.DONE}


def test_the_first_training_of_a_project_is_not_held_against_its_budget(project: Project, settings: Settings) -> None:
    for number in range(3):  # nothing was released: each is the first
        do(project, settings, schedule(number))
    assert spent(project, Workspace(settings)) == ()
