"""Looks at a challenger on a real MLflow: written down before anyone looks, and never twice for one retrain."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from mlflow import MlflowClient

from fullcircle.core.project import Binary, Evidence, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.looks import take_look
from fullcircle.tracking.runs import Tracker

AT = datetime(2013, 4, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose budget is for two looks a year."""
    return Project(
        name="looked-at",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        evidence=Evidence(alpha=0.05, looks=2),
        folder=tmp_path_factory.mktemp("project"),
    )


def begin(project: Project, settings: Settings) -> str:
    """A retrain's run that was stopped before it came to anything."""
    with Tracker(settings).start(project, name="retrain", kind="retrain") as run:
        return run.id


def test_looks_share_the_budget_until_it_is_spent_and_a_retrain_judged_again_takes_no_second_one(
    project: Project, settings: Settings
) -> None:
    first, second, third = (begin(project, settings) for _ in range(3))

    one = take_look(project, settings, first, AT)
    assert (one.number, one.level) == (1, 0.025)
    assert take_look(project, settings, first, AT + WEEK) == one

    two = take_look(project, settings, second, AT + WEEK)
    assert (two.number, two.level) == (2, 0.025)
    assert take_look(project, settings, first, AT).level == 0.025

    spent = take_look(project, settings, third, AT + 2 * WEEK)
    assert (spent.level, spent.free_at) == (0.0, AT + project.evidence.window)
    assert take_look(project, settings, third, AT + 2 * WEEK).level == 0.0

    MlflowClient(settings.tracking_uri).delete_run(first)
    assert take_look(project, settings, begin(project, settings), AT + 2 * WEEK).level == 0.0

    other = dataclasses.replace(project, name="not-looked-at")
    assert take_look(other, settings, begin(other, settings), AT + 2 * WEEK).number == 1
