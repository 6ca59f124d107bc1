"""A process that is killed in the middle of a run, and the run that it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mlflow
import pytest

from fullcircle.core.project import Project
from fullcircle.core.settings import Settings
from fullcircle.tracking.runs import Tracker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


def test_runs_of_a_killed_process_are_ended_and_those_of_a_living_one_are_not(
    project: Project, settings: Settings
) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from fullcircle.core.project import *
        from fullcircle.core.settings import Settings
        from fullcircle.core.models import EpochMetrics
        from fullcircle.tracking.runs import Tracker
        project = Project(name={project.name!r}, owner="o", columns=(Number("x"),), target=Binary("y", positive="p"),
                          time="t", row_id="i", torch=print, folder=Path({str(project.folder)!r}))
        settings = Settings.from_env({{"FULLCIRCLE_HOME": {str(settings.home)!r}}})
        run = Tracker(settings).start(project, name="k", kind="c")
        run.metrics({{"before": 1.0}})
        print(run.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed = done.stdout.strip()
    client, tracker = mlflow.MlflowClient(settings.tracking_uri), Tracker(settings)
    with tracker.start(project, name="alive", kind="candidate") as alive:
        assert tracker.end_abandoned(project) == 1
        assert client.get_run(alive.id).info.status == "RUNNING"
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(killed).data.metrics["before"] == 1.0
    assert tracker.end_abandoned(project) == 0


def test_two_processes_may_make_the_store_at_once_and_a_killed_maker_is_in_nobodys_way(settings: Settings) -> None:
    program = (
        "import sys; from fullcircle.core.settings import Settings; from fullcircle.tracking.runs import Tracker;"
        "Tracker(Settings.from_env({'FULLCIRCLE_HOME': sys.argv[1]})).prepare()"
    )
    # What a kill in the middle of the first migration leaves: a file that is no database yet.
    (settings.folder() / "mlflow.db.new").write_bytes(b"half a database")
    command = [sys.executable, "-c", program, str(settings.home)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=settings.home) for _ in range(2)]
    assert [(each.communicate()[1].decode(), each.returncode) for each in started] == [("", 0)] * 2
    assert sorted(path.name for path in settings.home.iterdir()) == ["locks", "mlflow.db"]
