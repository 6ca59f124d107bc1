"""A run that stopped before its end is gone on with on a real MLflow: the same run, and no point of it twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from fullcircle.core.errors import (
    FullcircleError,
    ModelUnavailable,
    Preempted,
    TrackingUnavailable,
    TrainingFailed,
    UsageError,
)
from fullcircle.core.project import Project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.loop.retraining.resume import find_interrupted
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs import step_points
from fullcircle.tracking.runs.run_schema import PROVENANCE
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import PROCESS, packed, process_of
from fullcircle.tracking.runs.system_metrics import monitor_node, node_name
from fullcircle.tracking.spool.sync import sync_run


@pytest.fixture
def client(settings: Settings, tracker: RunStore) -> mlflow.MlflowClient:
    tracker.prepare()
    return mlflow.MlflowClient(settings.tracking_uri)


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, train_loss=1 / number, validation_loss=2.0, validation={"roc_auc": 0.6}, seconds=0.1
    )


def preempted(tracker: RunStore, project: Project, epochs: int = 2) -> str:
    """A run that was told to stop after step 20, with so many epochs."""
    with contextlib.suppress(Preempted), tracker.start(project, name="torch", kind="train") as run:
        for number in range(1, epochs + 1):
            run.epoch(epoch(number))
            run.step_points.add(number * 10 - 9, [0.5] * 10, [1.0] * 10, 100.0)
        raise Preempted("preempted at step 20", step=20)
    return run.id


def killed(project: Project, settings: Settings, first: str = "") -> list[str]:
    """A program that begins a run, does `first`, tells of the run `before`, says its id, and is killed."""
    program = f"""
import os, signal, sys
from pathlib import Path
from fullcircle.core.project import *
from fullcircle.core.settings import Settings
from fullcircle.tracking.runs.run_store import RunStore
project = Project(name={project.name!r}, owner="o", columns=(Number("x"),), target=Binary("y", positive="p"),
                  time="t", row_id="i", torch=print, folder=Path({str(project.folder)!r}))
run = RunStore(Settings.from_env({{"FULLCIRCLE_HOME": {str(settings.home)!r}}})).start(project, name="k", kind="c")
{first}
run.metrics({{"before": 1.0}})
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    return [sys.executable, "-c", program]


def points(client: mlflow.MlflowClient, run_id: str) -> Counter[tuple[str, int]]:
    """How often each (metric, step) of a run is there, system metrics included."""
    keys = client.get_run(run_id).data.metrics
    return Counter((key, point.step) for key in keys for point in client.get_metric_history(run_id, key))


def test_a_preempted_run_is_no_failure_and_says_where_it_stands(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    found = client.get_run(preempted(tracker, project))
    assert found.info.status == "SCHEDULED"
    assert found.data.tags["fullcircle.preempted"] == "step 20"
    assert "fullcircle.failure" not in found.data.tags
    assert client.get_metric_history(found.info.run_id, "step_loss")[-1].step == 20


def test_a_resumed_run_has_the_same_id_and_each_metric_once_a_step(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    run_id = preempted(tracker, project)
    before = points(client, run_id)
    assert {("train_loss", 1), ("train_loss", 2), ("step_loss", 20)} <= set(before)
    with tracker.resume(run_id[:12]) as run:
        assert client.get_run(run_id).info.status == "RUNNING"
        for number in (1, 2, 3):  # a resumed training tells again what it finds in its checkpoint
            run.epoch(epoch(number))
            run.step_points.add(number * 10 - 9, [0.5] * 10, [1.0] * 10, 100.0)
    found = client.get_run(run_id)
    assert (run.id, found.info.status) == (run_id, "FINISHED")
    assert "fullcircle.preempted" not in found.data.tags
    assert found.data.tags["fullcircle.resumes"] == "1"
    after = points(client, run_id)
    assert {("train_loss", 3), ("step_loss", 30), ("gradient_norm", 30)} <= set(after)
    assert set(after.values()) == {1}


def test_thousands_of_steps_become_about_one_point_a_second_and_the_last_one_is_there(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    with tracker.start(project, name="torch", kind="train") as run:
        for first in range(1, 5000, 10):
            run.step_points.add(first, [float(first)] * 10, [1.0] * 10, 1000.0)
    steps = [point.step for point in client.get_metric_history(run.id, "step_loss")]
    assert (steps[0], steps[-1]) == (10, 5000)
    assert len(steps) < 500
    assert client.get_run(run.id).data.metrics["samples_per_second"] == 1000.0


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["each-chunk-is-a-point", "none-but-the-first-and-the-last"])
def test_steps_that_a_replaced_rank_does_again_are_points_once_in_their_order_and_the_last_one_stays(
    tracker: RunStore,
    project: Project,
    client: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    every_s: float,
) -> None:
    monkeypatch.setattr(step_points, "STEP_POINT_EVERY_S", every_s)
    heard: list[int] = []
    with tracker.start(project, name="torch", kind="train") as run:
        for first in (1, 11, 21, 6, 16):  # killed behind step 30, gone on with from the checkpoint of step 5
            run.step_points.add(
                *(first, [float(first)] * 10, [1.0] * 10, 100.0),
                heard=lambda number, rate, point: heard.append(number if point else -number),
            )
    history = client.get_metric_history(run.id, "step_loss")
    expected = {0.0: [(10, 1.0), (20, 11.0), (30, 21.0)], 1e9: [(10, 1.0), (30, 21.0)]}[every_s]
    assert [(point.step, point.value) for point in history] == expected
    assert [number for number in heard if number > 0] == ([10, 20, 30] if not every_s else [10])
    assert len(heard) == 5


def test_runs_of_a_killed_process_are_ended_and_those_of_a_living_one_are_not(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, settings: Settings
) -> None:
    dead = subprocess.run(killed(project, settings), capture_output=True, text=True, check=False).stdout.strip()
    with tracker.start(project, name="alive", kind="candidate") as alive:
        assert tracker.end_abandoned(project) == 1
        assert client.get_run(alive.id).info.status == "RUNNING"
    assert client.get_run(dead).info.status == "KILLED"
    assert client.get_run(dead).data.metrics["before"] == 1.0
    assert tracker.end_abandoned(project) == 0


def test_a_run_whose_process_was_killed_is_ended_and_resumed_all_the_same(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, settings: Settings
) -> None:
    done = subprocess.run(killed(project, settings), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_id = done.stdout.strip()
    waiting = preempted(tracker, project)
    assert tracker.end_abandoned(project) == 1
    assert client.get_run(waiting).info.status == "SCHEDULED"
    with tracker.resume(run_id) as run:
        run.metrics({"before": 1.0, "after": 2.0})
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert "fullcircle.failure" not in found.data.tags
    assert set(points(client, run_id).values()) == {1}
    assert found.data.metrics["after"] == 2.0


KILLED_AT_ITS_BEGINNING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.resume import plan_tags
from fullcircle.tracking.runs.run_store import RunStore

name, home, folder = sys.argv[1:]
project = Project(name=name, owner="o", columns=(Number("x"),), target=Binary("y", positive="p"), time="t", row_id="i",
                  torch=print, folder=Path(folder))
spools = str(Path(home) / "spool")

def dies(event, args):
    # MLflow has the run; the first thing that its spool needs is asked for.
    if event in ("open", "os.mkdir") and str(args[0]).startswith(spools):
        os.kill(os.getpid(), signal.SIGKILL)

tracker = RunStore(Settings.from_env({"FULLCIRCLE_HOME": home}))
tracker.prepare()
tags = plan_tags(project, datetime(2024, 4, 1, tzinfo=UTC))
sys.addaudithook(dies)
tracker.start(project, name="retrain", kind="retrain", tags=tags)
"""


def test_a_retrain_that_was_killed_when_it_was_made_is_found_gone_on_with_and_says_where_it_comes_from(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, settings: Settings
) -> None:
    words = [project.name, str(settings.home), str(project.folder)]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_AT_ITS_BEGINNING, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (made,) = tracker.states(project, "retrain")
    assert (made.status, client.list_artifacts(made.run_id)) == ("RUNNING", [])
    assert tracker.end_abandoned(project) == 1
    found = find_interrupted(project, Workspace(settings), None)
    assert found is not None and (found.run_id, found.until) == (made.run_id, datetime(2024, 4, 1, tzinfo=UTC))
    with tracker.resume(made.run_id, project=project):
        pass
    said = json.loads(tracker.download(made.run_id, PROVENANCE).read_text())
    assert said["process"]["pid"] == str(os.getpid())
    assert tracker.origin(tracker.state(made.run_id)).folder == str(project.folder)
    assert "mlflow==" in tracker.download(made.run_id, "environment/requirements.txt").read_text()


def test_a_finished_run_and_one_that_is_at_work_are_not_resumed(tracker: RunStore, project: Project) -> None:
    run = tracker.start(project, name="torch", kind="train")
    with pytest.raises(UsageError, match=rf"run {run.id} is still running \(process {os.getpid()} on "):
        tracker.resume(run.id)
    run.end()
    with pytest.raises(UsageError, match=f"run {run.id} is finished; there is nothing to resume"):
        tracker.resume(run.id)
    with pytest.raises(UsageError, match="no run 'nonesuch'"):
        tracker.resume("nonesuch")


def test_a_running_run_of_another_machine_is_resumed_only_when_it_went_quiet(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    run = tracker.start(project, name="torch", kind="train")
    writer = process_of(client.get_run(run.id).data.tags)
    client.set_tag(run.id, PROCESS, packed({**writer, "host": "another-machine"}))
    with pytest.raises(UsageError, match=r"is still running \(process \d+ on another-machine\)"):
        tracker.resume(run.id)
    run.end()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TrainingFailed("non-finite at step 7 in layer 0.weight"), "is FAILED.*non-finite at step 7 in layer 0.weight"),
        (Preempted("told to stop", step=7), r"is SCHEDULED \(preempted at step 7\)"),
    ],
    ids=["failed", "preempted"],
)
def test_nothing_of_a_run_that_did_not_come_to_its_end_can_be_registered(
    tracker: RunStore,
    registry: Registry,
    project: Project,
    rows: pd.DataFrame,
    make_graph: Callable[..., Path],
    tmp_path: Path,
    error: FullcircleError,
    why: str,
) -> None:
    graph = make_graph(tmp_path / "g.onnx")
    run = tracker.start(project, name="torch", kind="train")
    with pytest.raises(type(error)), run:
        raise error
    again = tracker.append(run.id)
    with pytest.raises(ModelUnavailable, match=why):
        registry.register(project, again, graph, digest=sha256_of(graph), example=rows, card="c", tags={})
    assert registry.versions(project.name) == ()


def test_another_node_of_a_run_logs_its_load_under_its_own_name(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, settings: Settings
) -> None:
    with tracker.start(project, name="torch", kind="train") as run:
        with monitor_node(run.id, settings):
            pass  # the node that started the run is watched from there
        with monitor_node(run.id, settings, "node-1"):
            pass
    loads = {key for key in client.get_run(run.id).data.metrics if key.endswith("/cpu_utilization_percentage")}
    assert loads == {f"system/{node}/cpu_utilization_percentage" for node in (node_name(), "node-1")}
    assert set(points(client, run.id).values()) == {1}


def test_what_a_run_has_is_not_told_again_by_whoever_opens_it_or_appends_to_it(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    with contextlib.suppress(Preempted), tracker.start(project, name="torch", kind="train") as run:
        run.metrics({"best_epoch": 3.0})
        run.metrics({"best_epoch": 4.0})
        run.metrics({"trial": 0.5}, 3)
        for step in range(1, 3000):
            run.points({"loss": 1 / step}, step)
        for sample in (7, 7):  # two samples of one second
            run.points({"rank/0/cpu_percent": 50.0}, sample)
        raise Preempted("preempted at step 2,999", step=2999)
    with tracker.resume(run.id) as again:
        again.metrics({"best_epoch": 5.0})
        again.metrics({"trial": 0.6}, 2)  # a search's trials end in any order
        again.metrics({"trial": 0.7}, 3)
        for step in range(2000, 3010):
            again.points({"loss": 2.0}, step)
        again.points({"rank/0/cpu_percent": 60.0}, 7)
    tracker.append(run.id).metrics({"best_epoch": 6.0, "parity": 0.0})
    tracker.append(run.id).metrics({"parity": 1.0})
    found = points(client, run.id)
    assert set(found.values()) == {1}
    assert {("loss", step) for step in range(1, 3010)} | {("trial", 2), ("trial", 3)} <= set(found)
    metrics = client.get_run(run.id).data.metrics
    assert (metrics["best_epoch"], metrics["trial"], metrics["parity"]) == (3.0, 0.5, 0.0)
    assert metrics["rank/0/cpu_percent"] == 50.0


def test_a_run_is_not_opened_again_while_somebody_else_holds_what_it_told(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, settings: Settings
) -> None:
    held = """
if os.fork() == 0:  # a child without an exec, which holds all that its parent held, and outlives it
    os.close(1)
    sys.stdin.read()
    os._exit(0)
run._spool._sender.close()  # so that something is left
"""
    command = killed(project, settings, held)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        run_id = holder.stdout.read().strip()
        holder.wait()
        with pytest.raises(TrackingUnavailable, match=f"run {run_id}: .* not sent: another process holds .*spool"):
            sync_run(settings, run_id, patience_s=0.5)
        assert client.get_run(run_id).info.status == "RUNNING"
        holder.stdin.close()  # the child ends
    with tracker.resume(run_id) as run:
        run.metrics({"before": 2.0, "after": 2.0})
    found = client.get_run(run_id)
    assert (found.data.metrics["before"], found.data.metrics["after"]) == (1.0, 2.0)
    assert set(points(client, run_id).values()) == {1}
