"""One retrain at a time, and each request once: on the platform's real database, without a tracker."""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fullcircle.core.errors import LeaseLost, LeaseTaken, UsageError
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.retrain_budget import by_hand, is_open, spent, window_key
from fullcircle.loop.retraining.retrain_lease import FencedStep, resource, retrain_lease
from fullcircle.loop.steps import plain
from fullcircle.loop.workspace import Workspace
from fullcircle.store.leases import Holder, Lease, Leases, Taken
from fullcircle.store.retrain_requests import Retrains, RetrainSource, RetrainState

MAY = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")}))


@pytest.fixture
def project() -> Project:
    return Project(
        name="tickets",
        owner="someone@example.com",
        columns=(Number("x"),),
        target=Binary("late", "late"),
        time="at",
        row_id="id",
        torch=lambda inputs, params: None,
    )


def test_a_second_retrain_is_refused_with_who_is_at_it_and_may_begin_when_that_one_has_ended(
    project: Project, workspace: Workspace
) -> None:
    elsewhere = Workspace(workspace.settings)
    with (
        retrain_lease(project, workspace, doing="a schedule's retrain"),
        pytest.raises(LeaseTaken, match=r"a schedule's retrain of tickets is under way since .* UTC \(process \d+ on"),
        retrain_lease(project, elsewhere, wait=False),
    ):
        pytest.fail("both retrain")
    with retrain_lease(project, elsewhere, wait=False) as lease:
        assert lease.token > 1


def test_another_projects_retrain_is_in_nobodys_way(project: Project, workspace: Workspace) -> None:
    other = dataclasses.replace(project, name="letters")
    with retrain_lease(project, workspace, wait=False), retrain_lease(other, workspace, wait=False) as lease:
        assert lease.resource == resource("letters")


def test_who_waits_goes_on_when_the_lease_is_given_back(project: Project, workspace: Workspace) -> None:
    order: list[str] = []

    def second() -> None:
        with retrain_lease(project, Workspace(workspace.settings)):
            order.append("second")

    waiting = threading.Thread(target=second)
    with retrain_lease(project, workspace):
        waiting.start()
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]


def test_a_stage_whose_lease_another_one_took_does_not_begin(project: Project, workspace: Workspace) -> None:
    leases, done = Leases(workspace.database), list[str]()
    mine = leases.take(resource(project.name), Holder.this_process("mine"))
    assert isinstance(mine, Lease)
    step = FencedStep(plain, workspace, mine)
    assert step("train", lambda: done.append("train") or "trained") == "trained"

    seen = leases.taken(resource(project.name))
    assert isinstance(seen, Taken)
    leases.take(resource(project.name), Holder.this_process("theirs"), over=seen)

    with pytest.raises(LeaseLost, match=r"was given up.*theirs is under way"):
        step("release", done.append, "release")
    assert done == ["train"]


def test_the_budget_counts_what_ran_and_what_was_done_and_nothing_that_was_given_back(
    project: Project, workspace: Workspace
) -> None:
    retrains = Retrains(workspace.database)
    for days, state, counts in (
        (0, RetrainState.DONE, False),  # the first training of a project
        (1, RetrainState.DONE, True),
        (2, RetrainState.REFUSED, True),
        (3, RetrainState.RETURNED, True),
        (4, RetrainState.RUNNING, True),
    ):
        key, at = f"hand:{days}", MAY + timedelta(days=days)
        retrains.begin(project.name, key, source=RetrainSource.HAND, reason="test", at=at, counts=counts)
        retrains.end(project.name, key, state)
    assert spent(project, workspace) == (MAY + timedelta(days=1), MAY + timedelta(days=4))
    assert spent(project, workspace, but="hand:4") == (MAY + timedelta(days=1),)


def test_a_windows_retrain_is_open_until_it_was_made_or_refused(project: Project, workspace: Workspace) -> None:
    retrains, key = Retrains(workspace.database), window_key("2024-05")
    assert is_open(project, workspace, "2024-05")
    retrains.begin(project.name, key, source=RetrainSource.EVENT, reason="drift", at=MAY, counts=True)
    assert not is_open(project, workspace, "2024-05")
    retrains.cut_short(project.name)
    assert is_open(project, workspace, "2024-05"), "a retrain that was killed is asked for again"
    retrains.end(project.name, key, RetrainState.DONE)
    assert not is_open(project, workspace, "2024-05")


def test_a_hands_wishes_differ_unless_they_have_one_key() -> None:
    assert by_hand().key != by_hand().key
    assert by_hand("monday").key == by_hand("monday").key
    for key in ("", "x" * 151):
        with pytest.raises(UsageError, match=f"--key must have 1 to 150 characters, and has {len(key)}"):
            by_hand(key)
