"""Looks at a challenger on a real MLflow: spent by comparing, never twice for one retrain, and given back otherwise."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fullcircle.core.project import Binary, ErrorBudget, Number, Project
from fullcircle.core.records.health import Keep, Retrain
from fullcircle.core.settings import Settings
from fullcircle.evaluation.alpha_spending import Analysis
from fullcircle.loop.retraining.interim_analyses import STATE, reserve_analysis
from fullcircle.loop.retraining.latency_noise import note_noise, retrains_that_count
from fullcircle.loop.workspace import Workspace
from fullcircle.store.database import Database
from fullcircle.store.decisions import Decisions
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import LOOK, parts
from fullcircle.tracking.ui.review import VERDICT

AT = datetime(2013, 4, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose budget is for two looks a year."""
    return Project(
        name=f"looked-at-{uuid.uuid4().hex[:6]}",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        evidence=ErrorBudget(alpha=0.05, n_analyses=2),
        folder=tmp_path,
    )


def begin(project: Project, settings: Settings) -> str:
    """A retrain's run that was stopped before it came to anything."""
    with RunStore(settings).start(project, name="retrain", kind="retrain") as run:
        return run.id


def compared(project: Project, settings: Settings, run_id: str, at: datetime, against: str = "1") -> Analysis:
    """A look that was taken, comparison and all."""
    with reserve_analysis(project, Workspace(settings), run_id, at, against) as taken:
        taken.compare()
    return taken.analysis


def left(project: Project, settings: Settings) -> float:
    """The level that the next retrain would get; it compares nothing."""
    with reserve_analysis(project, Workspace(settings), begin(project, settings), AT + 3 * WEEK, "1") as taken:
        return taken.analysis.level


def test_looks_share_the_budget_until_it_is_spent_and_a_retrain_judged_again_takes_no_second_one(
    project: Project, settings: Settings
) -> None:
    first, second, third = (begin(project, settings) for _ in range(3))

    one = compared(project, settings, first, AT)
    assert (one.number, one.level) == (1, 0.025)
    assert compared(project, settings, first, AT + WEEK) == one

    two = compared(project, settings, second, AT + WEEK)
    assert (two.number, two.level) == (2, 0.025)
    assert compared(project, settings, first, AT).level == 0.025

    spent = compared(project, settings, third, AT + 2 * WEEK)
    assert (spent.level, spent.free_at) == (0.0, AT + project.evidence.window)
    assert compared(project, settings, third, AT + 2 * WEEK).level == 0.0

    MlflowClient(settings.tracking_uri).delete_run(first)
    assert left(project, settings) == 0.0

    other = dataclasses.replace(project, name=f"not-{project.name}")
    assert compared(other, settings, begin(other, settings), AT + 2 * WEEK).number == 1


def test_a_look_that_compared_nothing_gives_its_share_back_however_often(project: Project, settings: Settings) -> None:
    for _ in range(3):
        with reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1") as taken:
            assert (taken.analysis.number, taken.analysis.level) == (1, 0.025)
    with (
        pytest.raises(RuntimeError, match="the server did not start"),
        reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1"),
    ):
        raise RuntimeError("the server did not start")
    assert compared(project, settings, begin(project, settings), AT).number == 1


def test_an_error_after_the_comparison_gives_nothing_back(project: Project, settings: Settings) -> None:
    def judge() -> None:
        with reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1") as taken:
            taken.compare()
            raise RuntimeError("while it judged")

    with pytest.raises(RuntimeError, match="while it judged"):
        judge()
    with reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1") as after:
        assert after.analysis.number == 2


def test_a_retrain_that_is_judged_again_against_another_champion_takes_another_look(
    project: Project, settings: Settings
) -> None:
    run = begin(project, settings)
    assert compared(project, settings, run, AT, "1").level == 0.025
    with reserve_analysis(project, Workspace(settings), run, AT, "2") as nothing:
        assert nothing.analysis.level == 0.025
    assert left(project, settings) == 0.025, "the second one compared nothing, the first did"
    assert compared(project, settings, run, AT, "2").level == 0.025
    assert left(project, settings) == 0.0
    same = compared(project, settings, run, AT, "2")
    assert (same.number, same.level) == (1, 0.025), "the same again"
    assert compared(project, settings, run, AT, "3").level == 0.0


def test_two_retrains_at_work_at_once_do_not_share_one_share(project: Project, settings: Settings) -> None:
    runs = RunStore(settings)
    with (
        runs.start(project, name="retrain", kind="retrain") as one,
        reserve_analysis(project, Workspace(settings), one.id, AT, "1") as first,
        runs.start(project, name="retrain", kind="retrain") as two,
        reserve_analysis(project, Workspace(settings), two.id, AT, "1") as second,
    ):
        assert (first.analysis.number, second.analysis.number) == (1, 2)
        assert left(project, settings) == 0.0, "both may compare any moment"
    assert left(project, settings) == 0.025, "neither did"


def test_a_look_of_an_older_version_counts_as_it_did(project: Project, settings: Settings) -> None:
    run = begin(project, settings)
    RunStore(settings).append(run).tags({"fullcircle.look.at": AT.isoformat(), "fullcircle.look.level": "0.025"})
    with reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1") as taken:
        assert (taken.analysis.number, taken.analysis.level) == (2, 0.025)


KILLED = """
import os, signal
from datetime import UTC, datetime
from pathlib import Path

from fullcircle.core.project import Binary, ErrorBudget, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.interim_analyses import reserve_analysis
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.runs.run_store import RunStore

name, folder, point = {name!r}, {folder!r}, {point!r}
project = Project(
    name=name, owner="o", columns=(Number("x"),), target=Binary("y", positive="yes"), time="hour", row_id="id",
    torch=lambda inputs, params: None, evidence=ErrorBudget(alpha=0.05, n_analyses=2), folder=Path(folder),
)
settings = Settings.from_env()
with RunStore(settings).start(project, name="retrain", kind="retrain") as run:
    with reserve_analysis(project, Workspace(settings), run.id, datetime(2013, 4, 1, tzinfo=UTC), "1") as look:
        if point == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        look.compare()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("point", "number", "level"), [("before", 1, 0.025), ("after", 2, 0.025)])
def test_a_kill_before_the_comparison_gives_back_and_one_after_it_is_spent(
    project: Project, settings: Settings, point: str, number: int, level: float
) -> None:
    script = textwrap.dedent(KILLED.format(name=project.name, folder=str(project.folder), point=point))
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "FULLCIRCLE_HOME": str(settings.home)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    tracker = RunStore(settings)
    (run,) = tracker.states(project, "retrain")
    assert (run.status, parts(run.tags, LOOK)[STATE]) == ("RUNNING", "reserved" if point == "before" else "compared")
    tracker.end_abandoned(project)  # what the next retrain does first
    with reserve_analysis(project, Workspace(settings), begin(project, settings), AT, "1") as taken:
        assert (taken.analysis.number, taken.analysis.level) == (number, level)


@pytest.mark.parametrize("version", ["this", "an earlier one"])
def test_a_retrain_that_a_busy_machine_left_open_costs_no_part_of_the_retrain_budget(
    project: Project, settings: Settings, version: str
) -> None:
    decisions = Decisions(Database(settings))
    decisions.record(project.name, "March", Retrain(reason="drift in March"), at=AT, evidence={})
    decisions.record(project.name, "April", Keep(reason="all is well"), at=AT + 4 * WEEK, evidence={})

    def counted() -> tuple[datetime, ...]:
        return retrains_that_count(project, settings, decisions.all(project.name))

    assert counted() == (AT,)
    tags = {"fullcircle.reason": "drift in March"}
    with RunStore(settings).start(project, name="retrain", kind="retrain", tags=tags) as run:
        if version == "this":
            note_noise(Workspace(settings), run.id, AT + WEEK)
        else:
            run.tags({"fullcircle.noisy": (AT + WEEK).isoformat()})
    assert counted() == ()
    RunStore(settings).append(run.id).tags({VERDICT: "promote"})
    assert counted() == (AT,), "judged again it came to a verdict after all"
