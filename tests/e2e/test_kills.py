"""kill -9 at any point of a replay, then again from the start: a consistent registry, nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.project.loading import load_project
from fullcircle.core.records.releases import CHAMPION
from fullcircle.core.settings import Settings
from fullcircle.data.partitions import partitions
from fullcircle.loop.promotion.alias_transition import loads
from fullcircle.loop.promotion.release import completed
from fullcircle.loop.workspace import Workspace

# The replay without an orchestrator: what is killed is the loop itself, by itself, at the named point: in front of or
# behind a stage, or in the midst of one, where the stage tells whoever watches how far it is.
REPLAY = """
import json, os, signal, sys
from pathlib import Path
from fullcircle.core.settings import Settings, quiet_dependencies
quiet_dependencies()
from fullcircle.core.project.loading import load_project
from fullcircle.loop import progress
from fullcircle.apps.replay.replay import replay
from fullcircle.loop.workspace import Workspace

wanted, reached = sys.argv[1], Path(sys.argv[2])

def at(point):
    if point == wanted:
        reached.write_text(point)
        os.kill(os.getpid(), signal.SIGKILL)

def step(name, function, /, *args, **kwargs):
    at(f"before {name}")
    found = function(*args, **kwargs)
    at(f"behind {name}")
    return found

class Watcher(progress.LogProgress):
    def epoch(self, framework, metrics, epochs):
        at(f"in train {framework}, epoch {metrics.epoch}")

    def advance(self, name, done, total):
        at(f"in {name}")

with progress.shown_by(Watcher()):
    result = replay(load_project("tickets"), Workspace(Settings.from_env()), step=step)
print(json.dumps([row["month"] for row in result.rows]))
"""
POINTS = (
    "in train torch, epoch 3",
    "before register",
    "behind release",
    "in serve 2024-04",
    "behind decide",
    "before 2024-05: send the rows",
)
"""Where a replay is killed, one after the other: each time it goes on from the point before."""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a small project whose model is torch alone, so that a start takes few seconds."""
    from fullcircle.scaffold.new_project import create

    create("tickets", tmp_path)
    project = tmp_path / "tickets" / "project.py"
    text = project.read_text()
    assert 'find_spec("keras") is not None' in text
    project.write_text(text.replace('find_spec("keras") is not None', "False"))
    return tmp_path


def replay(workplace: Path, point: str = "") -> subprocess.CompletedProcess[str]:
    """Run the replay, until the named point or to its end."""
    return subprocess.run(
        [sys.executable, "-c", REPLAY, point, str(workplace / "reached")],
        cwd=workplace,
        env={**os.environ, "FULLCIRCLE_HOME": str(workplace / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_a_replay_killed_again_and_again_ends_like_one_that_was_not(workplace: Path) -> None:
    from fullcircle.predictions.log_reader import window
    from fullcircle.store.database import Database
    from fullcircle.store.releases import Releases
    from fullcircle.store.windows import Windows
    from fullcircle.tracking.registry.model_registry import Registry

    for point in POINTS:
        killed = replay(workplace, point)
        assert (killed.returncode, (workplace / "reached").read_text()) == (-signal.SIGKILL, point), killed.stderr
    finished = replay(workplace)
    assert finished.returncode == 0, finished.stderr

    settings = Settings.from_env({"FULLCIRCLE_HOME": str(workplace / "home")})
    project = load_project("tickets", workplace)
    registry, database = Registry(settings), Database(settings)
    champion = registry.alias("tickets", CHAMPION)
    assert champion is not None
    loads(Workspace(settings), champion)
    assert Releases(database).pending("tickets") == []
    assert completed(project, Workspace(settings))[-1].version == champion.version

    months = json.loads(finished.stdout.splitlines()[-1])
    assert months == ["2024-04", "2024-05", "2024-06"]
    assert all(row["done"] for row in Windows(database).all("tickets"))
    at_month_ends = [made.data_until for made in completed(project, Workspace(settings))]
    assert len(at_month_ends) == len(set(at_month_ends)), "a month's retrain was released twice"

    import pandas as pd

    folder = settings.folder("predictions", "tickets")
    lived_through = [part for part in partitions(project) if part.month in months]
    for part in lived_through:
        expected = pd.read_parquet(part.path)[project.row_id]
        found, rows = window(project, folder, part.start, part.end)
        assert sorted(rows[project.row_id if project.row_id in rows else "row_id"]) == sorted(expected)
        assert found.labelled == len(expected)


def test_what_a_killed_run_left_running_in_mlflow_is_marked_as_killed(workplace: Path) -> None:
    from fullcircle.tracking.runs.run_store import RunStore

    settings = Settings.from_env({"FULLCIRCLE_HOME": str(workplace / "home")})
    script = (
        "import os, signal\n"
        "from fullcircle.core.project.loading import load_project\n"
        "from fullcircle.core.settings import Settings\n"
        "from fullcircle.tracking.runs.run_store import RunStore\n"
        "RunStore(Settings.from_env()).start(load_project('tickets'), name='x', kind='retrain').__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "FULLCIRCLE_HOME": str(settings.home)}
    killed = subprocess.run([sys.executable, "-c", script], cwd=workplace, env=env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    project = load_project("tickets", workplace)
    assert RunStore(settings).end_abandoned(project) == 1
    assert RunStore(settings).end_abandoned(project) == 0
