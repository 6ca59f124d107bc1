"""One model trained by the command, stopped and gone on with: one MLflow run, and the weights as if never stopped."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import mlflow
import numpy as np
import pytest

from fullcircle.core.errors import FullcircleError, TrackerAway, TrainingFailed, UsageError
from fullcircle.core.project import Binary, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import answers
from fullcircle.loop import progress
from fullcircle.loop.retraining.resume import find_interrupted
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.steps import Step
from fullcircle.loop.training_runs.tensorboard import tensorboard
from fullcircle.loop.training_runs.train import TrainRequest, TrainResult, resume, train
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import DATA

EPOCHS = 30


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small project in torch alone, with dropout, that trains for some seconds, never stopped early."""
    from fullcircle.scaffold.new_project import create

    folder = tmp_path_factory.mktemp("workplace")
    create("tickets", folder)
    path = folder / "tickets" / "project.py"
    text = path.read_text()
    for old, new in (
        ('find_spec("keras") is not None', "False"),
        ("nn.ReLU(),\n        nn.Linear(width, ", "nn.ReLU(),\n        nn.Dropout(0.3),\n        nn.Linear(width, "),
        ("epochs=30, batch_size=128", f"epochs={EPOCHS}, batch_size=64"),
        ("patience=5", f"patience={EPOCHS}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def settings(workplace: Path) -> Settings:
    prices = '{"currency": "CHF", "cpu_core_hour": 0.05}'
    return Settings.from_env({"FULLCIRCLE_HOME": str(workplace / "home"), "FULLCIRCLE_PRICES": prices})


@pytest.fixture(scope="module")
def project(workplace: Path) -> Project:
    return load_project("tickets", workplace)


@pytest.fixture
def client(settings: Settings) -> mlflow.MlflowClient:
    RunStore(settings).prepare()
    return mlflow.MlflowClient(settings.tracking_uri)


@pytest.fixture(scope="module")
def uninterrupted(project: Project, settings: Settings) -> TrainResult:
    return train(project, Workspace(settings), TrainRequest(framework="torch", tensorboard=True, profile_steps=3))


@pytest.fixture
def stopped(workplace: Path, settings: Settings) -> Callable[..., str]:
    """Runs a command and sends it a signal after its second epoch in torch; returns what it wrote (last)."""

    def run(*words: str, by: signal.Signals = signal.SIGTERM, code: int = 75) -> str:
        command = [sys.executable, "-m", "fullcircle.cli", *words]
        env = {**os.environ, "FULLCIRCLE_HOME": str(settings.home)}
        process = subprocess.Popen(
            command, cwd=workplace, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        lines: list[str] = []
        told = False
        for line in process.stdout:
            lines.append(line)
            if f"torch epoch 2/{EPOCHS}" in line and not told:  # interrupted while it is printed, it is printed twice
                process.send_signal(by)
                told = True
        assert process.wait(timeout=60) == code, "".join(lines)
        return lines[-1] if by == signal.SIGTERM else "".join(lines)

    return run


def points(client: mlflow.MlflowClient, run_id: str) -> Counter[tuple[str, int]]:
    keys = client.get_run(run_id).data.metrics
    return Counter((key, point.step) for key in keys for point in client.get_metric_history(run_id, key))


def curve(client: mlflow.MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    """(step, value) of each point, in order: floats compare to the last bit."""
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))


def assert_same_training(client: mlflow.MlflowClient, one: TrainResult, other: TrainResult) -> None:
    for key in ("train_loss", "validation_loss", "validation_auc"):
        assert curve(client, one.run_id, key) == curve(client, other.run_id, key)
    assert len(curve(client, one.run_id, "train_loss")) == EPOCHS
    assert one.evaluation == other.evaluation


def test_a_run_tells_where_its_time_went_what_it_cost_and_what_it_learned_from(
    uninterrupted: TrainResult, client: mlflow.MlflowClient, settings: Settings
) -> None:
    found = client.get_run(uninterrupted.run_id)
    metrics, tags = found.data.metrics, found.data.tags
    assert (found.info.status, tags["fullcircle.kind"], tags["fullcircle.framework"]) == ("FINISHED", "train", "torch")
    assert tags[DATA] == uninterrupted.data.digest
    assert metrics["test_roc_auc"] == uninterrupted.evaluation.metrics["roc_auc"].value > 0.7
    assert uninterrupted.utilisation is not None
    assert metrics["time_compute"] == uninterrupted.utilisation.shares["compute"]
    assert metrics["energy_kwh"] == uninterrupted.spent.kwh > 0
    assert metrics["cost"] == uninterrupted.cost == pytest.approx(uninterrupted.spent.cpu_s / 3600 * 0.05)
    assert {"step_loss", "gradient_norm", "samples_per_second"} <= set(metrics)
    tracker = RunStore(settings)
    assert tracker.download(uninterrupted.run_id, "training/utilisation.png").read_bytes()[1:4] == b"PNG"
    use = json.loads(tracker.download(uninterrupted.run_id, "training/use.json").read_text())
    assert [one["rank"] for one in use["processes"]] == [0]
    assert (use["where"], use["world_size"], use["currency"]) == (uninterrupted.where, 1, "CHF")
    assert use["utilisation"] == uninterrupted.utilisation.sentence
    assert use["spent"]["how"].startswith(("estimate: ", "codecarbon: "))
    assert list(tracker.download(uninterrupted.run_id, "profile").rglob("*.json*"))
    assert not (settings.home / "jobs" / uninterrupted.run_id).exists()


def test_the_table_of_a_training_says_how_good_where_how_fast_what_it_cost_and_what_next(
    uninterrupted: TrainResult,
) -> None:
    from rich.console import Console

    from fullcircle.cli.train import print_training

    console = Console(record=True, width=200, quiet=False, file=io.StringIO())
    print_training(console, Binary("solved", "solved"), uninterrupted)
    text = console.export_text()
    assert uninterrupted.utilisation is not None
    for says in (
        str(uninterrupted.evaluation.metrics["roc_auc"]),
        uninterrupted.where,
        f"{uninterrupted.utilisation.samples_per_second:,.0f}",
        uninterrupted.utilisation.sentence,
        uninterrupted.spent.how,
        f"{uninterrupted.cost:.4f} CHF",
        uninterrupted.run_id,
        "next: fullcircle ui",
    ):
        assert says in text


def test_the_event_files_of_a_run_hold_the_metrics_of_its_run(
    uninterrupted: TrainResult, client: mlflow.MlflowClient, settings: Settings
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(RunStore(settings).download(uninterrupted.run_id, "tensorboard")))
    found.Reload()
    for key in ("train_loss", "validation_auc", "step_loss", "gradient_norm", "samples_per_second"):
        kept = [(step, float(np.float32(value))) for step, value in curve(client, uninterrupted.run_id, key)]
        assert sorted((point.step, point.value) for point in found.Scalars(key)) == kept


def test_tensorboard_shows_a_run_on_loopback_and_a_run_without_files_says_so(
    uninterrupted: TrainResult, settings: Settings, project: Project
) -> None:
    service, url = tensorboard(Workspace(settings), uninterrupted.run_id[:12])
    assert url.startswith("http://127.0.0.1:")
    with service:
        assert answers(url)
        assert answers(f"{url}/data/plugin/scalars/tags")
    assert not answers(url)
    with RunStore(settings).start(project, name="bare", kind="train") as bare:
        pass
    with pytest.raises(UsageError, match=f"run {bare.id} has no TensorBoard files; train with --tensorboard"):
        tensorboard(Workspace(settings), bare.id)


def test_a_training_told_to_stop_goes_on_in_its_run_as_if_it_never_stopped(
    uninterrupted: TrainResult,
    stopped: Callable[..., str],
    client: mlflow.MlflowClient,
    project: Project,
    settings: Settings,
    workplace: Path,
) -> None:
    """Also when the project's rows and parameters were changed meanwhile."""
    said = stopped("train", "tickets", "--framework", "torch")
    run_id = said.strip().rpartition(" ")[2]
    assert f"resumable: fullcircle train tickets --resume {run_id}" in said
    waiting = client.get_run(run_id)
    assert waiting.info.status == "SCHEDULED"
    assert f"preempted at {waiting.data.tags['fullcircle.preempted']}" in said.replace(",", "")
    before = len(client.search_runs([waiting.info.experiment_id]))

    partition = workplace / "tickets" / "data" / "2024-01.parquet"
    kept = partition.read_bytes()
    shutil.copyfile(workplace / "tickets" / "data" / "2024-02.parquet", partition)
    shutil.rmtree(settings.home / "jobs" / run_id / "arrays")
    file = workplace / "tickets" / "project.py"
    text = file.read_text()
    file.write_text(text.replace("learning_rate=3e-3", "learning_rate=0.5"))
    try:
        result = resume(load_project("tickets", workplace), Workspace(settings), run_id)
    finally:
        partition.write_bytes(kept)
        file.write_text(text)

    assert (result.run_id, result.data.digest) == (run_id, uninterrupted.data.digest)
    assert_same_training(client, result, uninterrupted)
    found = client.get_run(run_id)
    assert (found.info.status, found.data.tags["fullcircle.resumes"]) == ("FINISHED", "1")
    assert len(client.search_runs([found.info.experiment_id])) == before
    assert set(points(client, run_id).values()) == {1}


def test_a_run_that_cannot_be_resumed_is_refused_in_one_line(
    uninterrupted: TrainResult, project: Project, settings: Settings, tmp_path: Path
) -> None:
    tracker = RunStore(settings)
    with tracker.start(project, name="child", kind="candidate") as candidate:
        pass
    failed = tracker.start(project, name="f", kind="train", tags={"fullcircle.framework": "torch"})
    failed.json(
        {
            "framework": "torch",
            "until": "2024-06-01T00:00:00+00:00",
            "profile_steps": 0,
            "tensorboard": False,
            "training": {},
            "compute": {},
        },
        "training/job.json",
    )
    failed.end("FAILED", "out of memory")
    for run_id, framework, says in (
        (uninterrupted.run_id, None, "is finished; there is nothing to resume"),
        (failed.id, "keras", "is of framework 'torch', not 'keras'"),
        (failed.id, None, "has no checkpoint in "),
        (candidate.id, None, r"is part of a retrain \(a candidate\)"),
        ("nonesuch", None, "no run 'nonesuch'"),
    ):
        with pytest.raises(UsageError, match=says) as refused:
            resume(project, Workspace(settings), run_id, framework=framework)
        assert "\n" not in str(refused.value)
    from fullcircle.scaffold.new_project import create

    create("others", tmp_path)
    with pytest.raises(UsageError, match=f"run {uninterrupted.run_id} is of project 'tickets', not of 'others'"):
        resume(load_project("others", tmp_path), Workspace(settings), uninterrupted.run_id)


def test_numbers_that_go_bad_fail_the_run_with_the_reason(
    project: Project, settings: Settings, client: mlflow.MlflowClient
) -> None:
    request = TrainRequest(framework="torch", overrides=("training.learning_rate=1e30", "training.epochs=2"))
    with pytest.raises(TrainingFailed, match="non-finite"):
        train(project, Workspace(settings), request)
    newest = RunStore(settings).states(project, "train")[0]
    assert newest.status == "FAILED"
    assert "TrainingFailed: " in newest.tags["fullcircle.failure"]
    assert "non-finite" in newest.tags["fullcircle.failure"]
    assert client.get_run(newest.run_id).data.params["learning_rate"] == "1e+30"
    assert (settings.home / "jobs" / newest.run_id).is_dir()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tickets", "--framework", "jax"], "no framework 'jax'; project 'tickets' has baseline, torch"),
        (["tickets", "--framework", "keras"], "has no function that builds a model in keras"),
        (["tickets", "--where", "nonsense"], "no place 'nonsense' to train in"),
        (["tickets", "--where", "local:999"], "a batch of 64 rows cannot be shared among 999 processes"),
        (["tickets", "--where", "local:0"], "local:0: there must be at least 1 process"),
        (["tickets", "--set", "training.learning_rat=1"], "did you mean training.learning_rate"),
        (
            ["tickets", "--set", "training.batch_size=0"],
            "training.batch_size must be a whole number from 2 to 2147483647, got 0",
        ),
        (["tickets", "--until", "soon"], "a time must look like 2013-04-01"),
        (["tickets", "--resume", "0123abcd", "--set", "training.epochs=1"], "--set cannot be changed by --resume"),
        (["tickts"], "no project 'tickts'"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_anything_is_trained(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    from fullcircle.cli import fullcircle

    monkeypatch.chdir(workplace)
    monkeypatch.setenv("FULLCIRCLE_HOME", str(workplace / "home"))
    with pytest.raises(FullcircleError) as refused:
        fullcircle.main(["train", *words], standalone_mode=False)
    assert refused.value.exit_code == 2
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_batch_larger_than_the_data_is_refused_with_exit_code_2(project: Project, settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"training.batch_size must be at most \d+, the training rows, got 99999"):
        train(project, Workspace(settings), TrainRequest(framework="torch", overrides=("training.batch_size=99999",)))


@pytest.mark.slow
def test_two_processes_have_one_run(project: Project, settings: Settings, client: mlflow.MlflowClient) -> None:
    request = TrainRequest(framework="torch", where="local:2", overrides=("training.epochs=2",))
    before = len(RunStore(settings).states(project, "train"))
    result = train(project, Workspace(settings), request)
    assert len(RunStore(settings).states(project, "train")) == before + 1
    found = client.get_run(result.run_id)
    use = json.loads(RunStore(settings).download(result.run_id, "training/use.json").read_text())
    assert (result.world_size, use["world_size"]) == (2, 2)
    assert {key for key in found.data.metrics if key.startswith("rank/")} == {
        f"rank/{rank}/{name}" for rank in (0, 1) for name in ("cpu_percent", "peak_memory_mb")
    }
    assert set(points(client, result.run_id).values()) == {1}
    assert result.utilisation is not None
    assert result.utilisation.ranks == 2
    assert 0 < found.data.metrics["parallel_efficiency"] <= 1


@pytest.mark.nightly
def test_the_next_retrain_goes_on_with_one_that_was_told_to_stop(
    stopped: Callable[..., str], project: Project, settings: Settings, client: mlflow.MlflowClient
) -> None:
    said = stopped("run", "tickets")
    assert "resumable: the next 'fullcircle run tickets'" in said
    tracker = RunStore(settings)
    (waiting,) = tracker.states(project, "retrain")
    begun = {child.tags["fullcircle.framework"]: child for child in tracker.children(project, waiting.run_id)}
    assert waiting.preempted
    assert (begun["baseline"].finished, begun["torch"].preempted) == (True, True)

    result = retrain(project, Workspace(settings))
    assert result.run_id == waiting.run_id
    ended = {child.tags["fullcircle.framework"]: child for child in tracker.children(project, waiting.run_id)}
    assert {name: (child.run_id, child.status) for name, child in ended.items()} == {
        name: (child.run_id, "FINISHED") for name, child in begun.items()
    }
    assert "fullcircle.resumes" not in ended["baseline"].tags
    for run_id in (result.run_id, *(child.run_id for child in ended.values())):
        assert client.get_run(run_id).info.status == "FINISHED"
        assert set(points(client, run_id).values()) == {1}
        assert not (settings.home / "jobs" / run_id).exists()
    assert result.version.run_id == result.winner_run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "code"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="9"),
        pytest.param(signal.SIGINT, 130, id="2", marks=pytest.mark.nightly),
    ],
)
def test_a_training_that_was_killed_or_interrupted_is_resumed_as_if_it_never_was(
    uninterrupted: TrainResult,
    stopped: Callable[..., str],
    client: mlflow.MlflowClient,
    project: Project,
    settings: Settings,
    by: signal.Signals,
    code: int,
) -> None:
    said = stopped("train", "tickets", "--framework", "torch", by=by, code=code)
    tracker = RunStore(settings)
    tracker.catch_up()  # on a busy machine the run's end may still be in its spool
    newest = tracker.states(project, "train")[0]
    assert newest.run_id in said
    assert newest.status == ("RUNNING" if by == signal.SIGKILL else "KILLED")
    result = resume(project, Workspace(settings), newest.run_id)
    assert_same_training(client, result, uninterrupted)
    assert set(points(client, newest.run_id).values()) == {1}


@pytest.mark.slow
def test_the_next_retrain_goes_on_with_one_that_was_killed(
    stopped: Callable[..., str], project: Project, settings: Settings, client: mlflow.MlflowClient
) -> None:
    stopped("run", "tickets", "--until", "2024-05-15", by=signal.SIGKILL, code=-signal.SIGKILL)
    killed = RunStore(settings).states(project, "retrain")[0]
    assert killed.status == "RUNNING"
    result = retrain(project, Workspace(settings), until=datetime(2024, 5, 15, tzinfo=UTC))
    assert result.run_id == killed.run_id
    assert client.get_run(killed.run_id).info.status == "FINISHED"
    assert set(points(client, killed.run_id).values()) == {1}


class Heard(progress.LogProgress):
    """Epochs that were done in front of whoever watches."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, framework: str, metrics: EpochMetrics, epochs: int) -> None:
        self.epochs += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "day"),
    [
        (TrackerAway("the tracking server was away for longer than FULLCIRCLE_WAIT"), 20),
        (OSError(errno.ENOSPC, "No space left on device"), 21),
    ],
    ids=["tracker away", "disk full"],
)
def test_a_retrain_that_was_stopped_behind_its_training_is_gone_on_with_and_nothing_is_trained_again(
    project: Project, settings: Settings, client: mlflow.MlflowClient, error: Exception, day: int
) -> None:
    until = datetime(2024, 5, day, tzinfo=UTC)

    def away(name: str, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        if name == "export the one graph":
            raise error
        return function(*args, **kwargs)

    first, again = Heard(), Heard()
    with progress.shown_by(first), pytest.raises(type(error)):
        retrain(project, Workspace(settings), until=until, step=cast(Step, away))
    stopped = RunStore(settings).states(project, "retrain")[0]
    begun = {child.run_id for child in RunStore(settings).children(project, stopped.run_id)}
    assert (stopped.status, first.epochs > 0, len(begun)) == ("KILLED", True, 2)
    with progress.shown_by(again):
        result = retrain(project, Workspace(settings), until=until)
    assert (result.run_id, again.epochs) == (stopped.run_id, 0)
    ended = RunStore(settings).children(project, stopped.run_id)
    assert {(child.run_id, child.status) for child in ended} == {(run_id, "FINISHED") for run_id in begun}
    assert client.get_run(result.run_id).info.status == "FINISHED"
    assert set(points(client, result.winner_run_id).values()) == {1}
    assert not [name for name in ("jobs", "exports") for _ in (settings.home / name).glob(f"*{result.winner_run_id}*")]
    assert find_interrupted(project, Workspace(settings), until) is None, "it came to its end"


@pytest.mark.nightly
def test_a_retrain_whose_code_changed_starts_anew_and_the_old_one_is_given_up(
    stopped: Callable[..., str], project: Project, settings: Settings, workplace: Path
) -> None:
    stopped("run", "tickets", "--until", "2024-05-01")
    tracker = RunStore(settings)
    waiting = next(state for state in tracker.states(project, "retrain") if state.preempted)

    (workplace / "tickets" / "features.py").write_text("'''Other code.'''\n")
    try:
        assert find_interrupted(project, Workspace(settings), None) is None
    finally:
        (workplace / "tickets" / "features.py").unlink()
    after = tracker.state(waiting.run_id)
    assert (after.status, after.preempted) == ("KILLED", False)
    assert "its code or parameters changed" in after.tags["fullcircle.failure"]
    assert all(not child.preempted for child in tracker.children(project, waiting.run_id))
