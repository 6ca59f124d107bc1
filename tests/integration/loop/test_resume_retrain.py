"""A retrain that is killed after its training, at named points: the next one trains and registers nothing again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.loop.promotion.approval import promote
from fullcircle.loop.promotion.ledger_audit import verify
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.retraining.retrain_lease import resource
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.leases import Leases
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

SMALLER = (
    ("keras=build_keras if HAS_KERAS else None", "keras=None"),
    ("epochs=30", "epochs=2"),
    ('AtLeast("roc_auc", 0.65)', 'AtLeast("roc_auc", 0.5)'),
)

# Retrains again and again, each time in a process that kills itself with SIGKILL at the next of the named points:
# before ("<"), or after (">") a stage, or before a statement of the registry or of our store.
PROGRAM = """
import json, os, signal, sys
from datetime import UTC, datetime
from fullcircle.core.settings import Settings, quiet_dependencies
quiet_dependencies()
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store, onnxruntime, sklearn, torch
from sqlalchemy import event
from sqlalchemy.engine import Engine
from fullcircle.core.project.loading import load_project
from fullcircle.loop.promotion import approval
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.workspace import Workspace

class Stop(BaseException):
    pass

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def once(point):
    seen = []

    @event.listens_for(Engine, "before_cursor_execute")
    def executes(connection, cursor, statement, *_):
        if point.startswith("INSERT") and statement.startswith(point):
            die()

    def step(name, function, /, *args, **kwargs):
        if point == "< " + name:
            die()
        seen.append(name)
        found = function(*args, **kwargs)
        if point == "> " + name:
            die()
        if point == "until " + name:
            raise Stop
        return found

    try:
        workspace = Workspace(Settings.from_env())
        retrain(load_project("tickets"), workspace, until=datetime(2024, 4, 1, tzinfo=UTC), step=step)
    except Stop:
        pass
    print(json.dumps([point, seen]), flush=True)

for point in sys.argv[1:]:
    if (child := os.fork()) == 0:
        try:
            once(point)
        except BaseException as error:
            import traceback
            traceback.print_exc()
            os._exit(9)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    expected = 0 if point == "end" or point.startswith("until") else -signal.SIGKILL
    found = os.waitstatus_to_exitcode(status)
    assert found == expected, (point, found)
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small project."""
    from fullcircle.scaffold.new_project import create

    folder = tmp_path_factory.mktemp("workplace")
    create("tickets", folder)
    path = folder / "tickets" / "project.py"
    for old, new in SMALLER:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return folder


@pytest.fixture
def settings(workplace: Path, tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


@dataclass(frozen=True)
class Left:
    """What there is afterwards: names of all runs but the retrains', and status of those; versions; the ledger."""

    candidates: list[str]
    retrains: list[str]
    versions: list[str]
    entries: list[tuple[str, str]]


def left(project: Project, settings: Settings) -> Left:
    tracker, retrains = RunStore(settings), RunStore(settings).states(project, "retrain")
    return Left(
        candidates=sorted(each.name for run in retrains for each in tracker.children(project, run.run_id)),
        retrains=[run.status for run in retrains],
        versions=[each.version for each in Registry(settings).versions(project.name)],
        entries=[(e.action.value, e.version) for e in Ledger(Database(settings)).entries(project.name)],
    )


def killed_at(workplace: Path, settings: Settings, *points: str) -> list[Any]:
    """The stages that each run came to that was not killed."""
    env = {**os.environ, "FULLCIRCLE_HOME": str(settings.home)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *points], cwd=workplace, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_was_trained_and_registered_before_a_kill_is_gone_on_with(workplace: Path, settings: Settings) -> None:
    points = ("> export the one graph", "INSERT INTO model_versions", "> register", "< release", "INSERT INTO releases")
    ((_, stages),) = killed_at(workplace, settings, *points, "end")
    project = load_project("tickets", workplace)
    assert "release" in stages
    assert left(project, settings) == Left(
        candidates=["baseline", "torch"], retrains=["FINISHED"], versions=["1"], entries=[("promote", "1")]
    )
    assert all(checked.holds for checked in verify(Workspace(settings)))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_champion_that_comes_while_a_challenger_is_judged_is_met_before_the_release(
    workplace: Path, settings: Settings
) -> None:
    """What two runs at once did: both judged without a champion, and both were promoted."""
    project = load_project("tickets", workplace)
    seen: list[str] = []

    class Stopped(Exception):
        pass

    def stopping(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if name == "release":
            raise Stopped
        return function(*args, **kwargs)

    def overtaken(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if name == "release" and "release" not in seen:
            promote(project, Workspace(settings), "1", why="the other run was faster", who="the other run")
        seen.append(name)
        return function(*args, **kwargs)

    with pytest.raises(Stopped):
        retrain(project, Workspace(settings), until=datetime(2024, 3, 1, tzinfo=UTC), step=stopping)
    result = retrain(project, Workspace(settings), until=datetime(2024, 4, 1, tzinfo=UTC), step=overtaken)

    assert result.verdict.champion_version == "1", "it met the one that had come"
    assert [seen.count(name) for name in ("train torch", "judge", "register", "release", "explain")] == [1, 2, 2, 2, 1]
    entries = Ledger(Database(settings)).entries(project.name)
    assert [(entry.version, entry.previous) for entry in entries] == [("1", None), ("2", "1")]
    version = Registry(settings).version(project.name, "2")
    assert version.tags["fullcircle.verdict"] == entries[-1].verdict == str(result.verdict.outcome)
    assert result.promoted == (version.aliases == ("champion",))
    kept = json.loads(RunStore(settings).download(result.winner_run_id, "gate/verdict.json").read_text())
    assert kept["champion_version"] == "1"
    assert Leases(Database(settings)).taken(resource(project.name)) is None
    tracker = RunStore(settings)
    answers = {"fullcircle.project", "fullcircle.kind", "rows from", "rows until"}
    scores = {"ROC AUC", "95 interval"}
    assert shown(tracker, result.run_id) == answers | scores | {"fullcircle.reason", "verdict", "winner", "champion"}
    of_candidates = {run.run_id: shown(tracker, run.run_id) for run in tracker.children(project, result.run_id)}
    assert of_candidates.pop(result.winner_run_id) - {"fullcircle.verdict"} == answers | scores | {
        "fullcircle.framework"
    }
    assert all(each == answers | scores | {"fullcircle.framework"} for each in of_candidates.values())


def shown(tracker: RunStore, run_id: str) -> set[str]:
    """Names of the tags that MLflow's page of a run shows."""
    return {name for name in tracker.state(run_id).tags if not name.startswith("mlflow.")}
