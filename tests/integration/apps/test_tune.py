"""A search for parameters that is stopped and gone on with is the very same search; the test rows have no say."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest

from fullcircle.apps.tuning.study import Study, Trial
from fullcircle.apps.tuning.trials import Trials
from fullcircle.apps.tuning.tune import TuneRequest, TuneResult, tune
from fullcircle.core.errors import TrainingFailed, UsageError
from fullcircle.core.project import Choice, LogUniform, Project, Uniform
from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace
from fullcircle.store.database import Database
from fullcircle.tracking.runs.run_store import RunState, RunStore

PACED = """
    class Paced(nn.Module):
        def forward(self, values):
            if self.training and "PAUSE_S" in os.environ:
                time.sleep(float(os.environ["PAUSE_S"]))
            return values

"""
"""A layer by which a process can be made to train so slowly that it is surely met in the midst of a trial."""
UNTIL = datetime(2030, 1, 1, tzinfo=UTC)
SEARCH = {
    "training.dropout": Uniform(0.0, 0.5),
    "training.learning_rate": LogUniform(1e-6, 1e-2),  # from far too slow on, so that there is something to prune
    "training.width": Choice(16, 64),
}
WISH = TuneRequest(framework="torch", trials=8, until=UNTIL)
WORDS = ("tune", "tickets", "--framework", "torch", "--trials", "8", "--until", "2030-01-01")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small project that says what to search; a trial takes a second or two."""
    from fullcircle.scaffold.new_project import create

    folder = tmp_path_factory.mktemp("workplace")
    create("tickets", folder)
    path = folder / "tickets" / "project.py"
    text = path.read_text()
    imports = "    from torch import nn  # imported here, so that reading this file stays fast\n"
    for old, new in (
        (imports, f"    import os\n    import time\n\n{imports}{PACED}"),
        ("nn.ReLU(),\n        nn.Linear(width, ", 'nn.ReLU(),\n        nn.Dropout(params["dropout"]),\n'
         "        Paced(),\n        nn.Linear(width, "),
        ("    Category,\n", "    Category,\n    Choice,\n    LogUniform,\n    Uniform,\n"),
        ("epochs=30, batch_size=128", "epochs=6, batch_size=64"),
        ("patience=5", "patience=6"),
        ('extra={"width": 64}', 'extra={"width": 64, "dropout": 0.1}'),
        ("    gates=(\n", f"    search={SEARCH!r},\n    gates=(\n"),
    ):  # fmt: skip
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text.replace("Choice(values=(16, 64))", "Choice(16, 64)"))
    for month in sorted((folder / "tickets" / "data").glob("*.parquet"))[:3]:
        month.unlink()  # half of the rows will do
    return folder


@pytest.fixture(scope="module")
def project(workplace: Path) -> Project:
    loaded = load_project("tickets", workplace)
    assert dict(loaded.search) == SEARCH
    return loaded


def home(folder: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(folder)})


@pytest.fixture(scope="module")
def settings(workplace: Path) -> Settings:
    return home(workplace / "home")


@pytest.fixture(scope="module")
def uninterrupted(project: Project, settings: Settings) -> TuneResult:
    return tune(project, Workspace(settings), WISH)


def trials_of(settings: Settings, name: str = "tickets/torch") -> tuple[Trial, ...]:
    with contextlib.closing(Study(Database(settings), name, SEARCH, {})) as study:
        return study.trials


def runs_of(project: Project, settings: Settings) -> tuple[RunState, tuple[RunState, ...]]:
    """The one run of the project's studies, and those of its trials."""
    tracker = RunStore(settings)
    (parent,) = tracker.states(project, "tune")
    return parent, tracker.children(project, parent.run_id)


def points(settings: Settings, run_id: str) -> Counter[tuple[str, int]]:
    client = mlflow.MlflowClient(settings.tracking_uri)
    keys = [key for key in client.get_run(run_id).data.metrics if not key.startswith("system/")]
    return Counter((key, point.step) for key in keys for point in client.get_metric_history(run_id, key))


def test_a_study_has_a_run_with_its_trials_below_it_its_best_and_its_pictures(
    uninterrupted: TuneResult, project: Project, settings: Settings
) -> None:
    trials = trials_of(settings)
    parent, children = runs_of(project, settings)
    found = mlflow.MlflowClient(settings.tracking_uri).get_run(parent.run_id)
    assert (parent.run_id, parent.status) == (uninterrupted.run_id, "FINISHED")
    assert len(trials) == len(children) == uninterrupted.ended == 8
    best = uninterrupted.best[0]
    assert best.value == max(trial.value or 0.0 for trial in trials if not trial.pruned)
    assert found.data.metrics["best_validation_auc"] == best.value
    assert found.data.metrics["trials"] == 8
    assert found.data.tags["fullcircle.best"] == " ".join(best.settings)
    assert sum(uninterrupted.importance.values()) == pytest.approx(1.0)
    tracker = RunStore(settings)
    for name in ("history", "epochs", "slices", "parallel", "importance"):
        assert tracker.download(parent.run_id, f"tune/{name}.png").read_bytes()[1:4] == b"PNG"
    assert tracker.data_version(children[0].run_id).digest == uninterrupted.data
    assert not list((settings.home / "jobs").iterdir())


def test_a_trial_that_is_behind_is_pruned_and_its_run_ends_well_and_says_so(
    uninterrupted: TuneResult, project: Project, settings: Settings
) -> None:
    pruned = {trial.number: trial for trial in trials_of(settings) if trial.pruned}
    assert uninterrupted.pruned == len(pruned) > 0
    _, children = runs_of(project, settings)
    for child in children:
        number = int(child.tags["fullcircle.trial"])
        assert child.status == "FINISHED"
        if number in pruned:
            epochs = len(pruned[number].curve)
            assert child.tags["fullcircle.pruned"] == f"epoch {epochs}" and epochs < 6
        else:
            assert "fullcircle.pruned" not in child.tags


def test_the_first_trial_has_what_the_project_has_now(uninterrupted: TuneResult) -> None:
    assert uninterrupted.present is not None
    assert uninterrupted.present.parameters == {
        "training.dropout": 0.1,
        "training.learning_rate": 0.003,
        "training.width": 64,
    }


def test_the_command_that_trains_the_best_trains_what_the_trial_did(
    uninterrupted: TuneResult, project: Project, settings: Settings
) -> None:
    from fullcircle.loop.training_runs.train import TrainRequest, train

    best = uninterrupted.best[0]
    assert uninterrupted.command.startswith("fullcircle train tickets --framework torch --set training.dropout=")
    trained = train(project, Workspace(settings), TrainRequest(framework="torch", until=UNTIL, overrides=best.settings))
    history = mlflow.MlflowClient(settings.tracking_uri).get_metric_history(trained.run_id, "validation_auc")
    assert {point.step: point.value for point in history}[trained.best_epoch] == best.value


def test_a_study_that_is_done_is_told_again_and_nothing_is_trained(
    uninterrupted: TuneResult, project: Project, settings: Settings
) -> None:
    assert tune(project, Workspace(settings), WISH) == uninterrupted
    assert len(runs_of(project, settings)[1]) == 8


def test_a_trial_is_not_resumed_as_a_training(uninterrupted: TuneResult, project: Project, settings: Settings) -> None:
    from fullcircle.loop.training_runs.train import resume

    for run in (uninterrupted.run_id, runs_of(project, settings)[1][0].run_id):
        with pytest.raises(UsageError, match="is part of a study; 'fullcircle tune tickets' goes on with it"):
            resume(project, Workspace(settings), run)


@pytest.fixture
def stopped(workplace: Path) -> Iterator[Callable[[Settings, int, signal.Signals], tuple[int, str]]]:
    """Runs the command and sends it a signal in the midst of this trial or a later one, which has done two epochs;
    returns its exit code and what it wrote. Nothing that it started is left."""
    processes: list[subprocess.Popen[str]] = []

    def run(settings: Settings, in_trial: int, by: signal.Signals) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "fullcircle.cli", *WORDS],
            cwd=workplace,
            env={**os.environ, "FULLCIRCLE_HOME": str(settings.home), "PAUSE_S": "0.005"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        while not _in_midst(settings, in_trial):
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.02)
        children = _children(process.pid)
        assert children
        process.send_signal(by)
        output, _ = process.communicate(timeout=120)
        for child in children:
            _wait_until_gone(child)
        return process.returncode, output

    yield run
    for process in processes:
        process.kill()
        process.wait()


def _in_midst(settings: Settings, number: int) -> bool:
    if not (settings.home / "fullcircle.db").exists():
        return False
    return any(trial.running and len(trial.curve) >= 2 for trial in trials_of(settings)[number - 1 :])


def _children(pid: int) -> list[int]:
    return [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]


def _wait_until_gone(pid: int) -> None:
    """A process that died and whose parent is gone may be left as a zombie where nobody reaps those."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.nightly
def test_a_study_that_was_told_to_stop_interrupted_and_killed_is_the_same_to_the_last_bit(
    uninterrupted: TuneResult,
    project: Project,
    settings: Settings,
    stopped: Callable[[Settings, int, signal.Signals], tuple[int, str]],
    tmp_path: Path,
) -> None:
    other = home(tmp_path / "home")
    code, output = stopped(other, 1, signal.SIGTERM)
    assert (code, "the same command goes on" in output) == (75, True), output
    parent, children = runs_of(project, other)
    assert (parent.preempted, [child.preempted for child in children].count(True)) == (True, 1)
    code, output = stopped(other, 3, signal.SIGINT)
    assert (code, "the same command goes on from there" in output) == (130, True), output
    assert runs_of(project, other)[0].status == "KILLED"
    code, _ = stopped(other, 5, signal.SIGKILL)
    assert code == -signal.SIGKILL
    result = tune(project, Workspace(other), WISH)
    assert trials_of(other) == trials_of(settings)
    assert dataclasses.replace(result, run_id="") == dataclasses.replace(uninterrupted, run_id="")
    parent, children = runs_of(project, other)
    assert parent.status == "FINISHED"
    assert sorted(int(child.tags["fullcircle.trial"]) for child in children) == list(range(1, 9))
    assert {child.status for child in children} == {"FINISHED"}
    for run in (parent, *children):
        assert {key: count for key, count in points(other, run.run_id).items() if count != 1} == {}
    again = {child.tags["fullcircle.trial"]: child.run_id for child in children}
    first = {child.tags["fullcircle.trial"]: child.run_id for child in runs_of(project, settings)[1]}
    for number, run_id in first.items():
        assert points(other, again[number]).keys() == points(settings, run_id).keys()


def test_ctrl_c_pressed_again_while_the_trials_are_ended_leaves_none_of_them_running(
    uninterrupted: TuneResult, project: Project, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = psutil.cpu_percent

    def pressed_again() -> float:  # a run's end takes a last look at the machine
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        return load()

    tracker = RunStore(settings)
    present = dict(uninterrupted.present.parameters) if uninterrupted.present else {}
    with (
        contextlib.closing(Study(Database(settings), "tickets/impatient", SEARCH, present)) as study,
        tracker.start(project, name="impatient", kind="tune") as parent,
    ):
        data = tracker.data_version(uninterrupted.run_id)
        trials = Trials(project, Workspace(settings), "torch", study, parent.id, data, tmp_path)
        begun = [trials.begin(study.ask()).run_id for _ in range(2)]
        with monkeypatch.context() as patched:
            patched.setattr(psutil, "cpu_percent", pressed_again)
            with pytest.raises(KeyboardInterrupt):
                trials.abandon(KeyboardInterrupt())
    tracker.catch_up()
    assert [tracker.state(run_id).status for run_id in begun] == ["KILLED", "KILLED"]


def poisoned(project: Project, folder: Path, *, part: str) -> Project:
    """The project on rows whose part has its labels flipped and each feature scrambled among the part's rows."""
    shutil.copytree(project.folder, folder / "tickets")
    rule, paths = project.split, sorted((folder / "tickets" / "data").glob("*.parquet"))
    rows = pd.concat([pd.read_parquet(path).assign(path=f"{path}") for path in paths], ignore_index=True)
    time_of = pd.to_datetime(rows[project.time], utc=True)
    test_from = time_of.max() - rule.test
    mask = time_of > test_from
    if part == "validation":
        mask = (time_of > test_from - rule.validation) & ~mask
    random = np.random.default_rng(7)
    for column in project.inputs:
        values = rows.loc[mask, column.name].to_numpy()
        rows.loc[mask, column.name] = values[random.permutation(len(values))]
    rows.loc[mask, project.target.name] = 1 - rows.loc[mask, project.target.name]
    assert mask.sum() > 100
    for path, month in rows.groupby("path"):
        month.drop(columns="path").to_parquet(str(path), index=False)
    return load_project("tickets", folder)


def test_test_rows_that_are_poisoned_change_nothing_to_the_last_bit(
    uninterrupted: TuneResult, project: Project, settings: Settings, tmp_path: Path
) -> None:
    other = home(tmp_path / "home")
    found = tune(poisoned(project, tmp_path, part="test"), Workspace(other), dataclasses.replace(WISH, trials=6))
    assert found.data != uninterrupted.data
    assert trials_of(other) == trials_of(settings)[:6]


@pytest.mark.nightly
def test_validation_rows_that_are_poisoned_change_it(
    uninterrupted: TuneResult, project: Project, settings: Settings, tmp_path: Path
) -> None:
    other = home(tmp_path / "home")
    tune(poisoned(project, tmp_path, part="validation"), Workspace(other), dataclasses.replace(WISH, trials=1))
    assert trials_of(other)[0].curve != trials_of(settings)[0].curve


def test_the_rows_of_the_trials_are_prepared_without_the_test_rows_and_a_time_that_is_over_leaves_them(
    project: Project, tmp_path: Path
) -> None:
    from fullcircle.training.arrays import load

    other = home(tmp_path)
    result = tune(project, Workspace(other), dataclasses.replace(WISH, timeout_s=0.0))
    assert (result.ended, result.best, result.command) == (0, (), "")
    folder = other.home / "jobs" / "study-tickets.torch" / "arrays"
    names = ("arrays.json", "ids_train.npy", "x_train.npy", "x_validation.npy", "y_train.npy", "y_validation.npy")
    assert tuple(sorted(path.name for path in folder.iterdir())) == names
    tracker = RunStore(other)
    split = tracker.split(result.run_id)
    arrays = load(folder)
    assert len(arrays.y_train) == split["train"]["rows"]  # type: ignore[index]
    assert len(arrays.y_validation) == split["validation"]["rows"]  # type: ignore[index]
    test_ids = _rows_from(project, split["test"]["start"])  # type: ignore[index]
    assert arrays.ids_train is not None and not test_ids & set(arrays.ids_train.tolist())
    assert tracker.state(result.run_id).preempted
    with pytest.raises(UsageError, match=r"study tickets/torch searches training\.dropout=0\.0\.\.0\.5, training"):
        tune(project, Workspace(other), dataclasses.replace(WISH, space=("training.dropout",)))
    with pytest.raises(UsageError, match="learns from the rows before 2030-01-01"):
        tune(project, Workspace(other), dataclasses.replace(WISH, until=UNTIL - timedelta(days=1)))
    with pytest.raises(UsageError, match="began with other code or other parameters of training"):
        tune(project, Workspace(other), dataclasses.replace(WISH, overrides=("training.epochs=7",)))


def _rows_from(project: Project, start: object) -> set[str]:
    rows = pd.concat([pd.read_parquet(path) for path in sorted(project.partitions.glob("*.parquet"))])
    later = pd.to_datetime(rows[project.time], utc=True) >= pd.Timestamp(str(start))
    found = set(rows.loc[later, project.row_id].astype(str))
    assert len(found) > 100
    return found


@pytest.mark.nightly
def test_two_workers_train_keras_trials_side_by_side(project: Project, settings: Settings) -> None:
    request = TuneRequest(framework="keras", trials=4, workers=2, until=UNTIL, overrides=("training.epochs=2",))
    result = tune(
        project, Workspace(settings), dataclasses.replace(request, space=("training.learning_rate", "training.width"))
    )
    assert (result.ended, result.done) == (4, 4)
    assert all(len(trial.curve) == 2 for trial in result.best)
    tracker = RunStore(settings)
    children = tracker.children(project, result.run_id)
    assert sorted(child.tags["fullcircle.trial"] for child in children) == ["1", "2", "3", "4"]
    assert {child.status for child in children} == {"FINISHED"}


def test_a_search_in_which_every_trial_fails_is_ended_and_says_why(project: Project, settings: Settings) -> None:
    text = (project.folder / "project.py").read_text()
    other = project.folder.parent / "tickets-broken"
    shutil.copytree(project.folder, other)
    (other / "project.py").write_text(
        text.replace('width = params.get("width", 64)\n    return nn', 'width = params["depth"]\n    return nn')
    )
    loaded = load_project("tickets-broken", project.folder.parent)
    with pytest.raises(TrainingFailed, match=r"all 3 trials of study tickets/torch/broken failed.*KeyError: 'depth'"):
        tune(loaded, Workspace(settings), dataclasses.replace(WISH, study="broken"))
    parent, *_ = RunStore(settings).states(project, "tune")
    children = RunStore(settings).children(project, parent.run_id)
    assert (parent.status, {child.status for child in children}, len(children)) == ("FAILED", {"FAILED"}, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"framework": "jax"}, "has no model in 'jax' to tune; it has torch, keras"),
        ({"workers": 4096}, "4096 workers want a core each, and here "),
        ({"trials": 0}, "there must be a trial and a worker, got 0 and 1"),
        ({"study": "../x"}, "a study's name is lower-case letters"),
        ({"space": ("training.droput=0..1",)}, r"got 'training.droput'; did you mean training.dropout\?"),
        ({"space": ("training.epochs=0..5",)}, "training.epochs must be a whole number from 1 to 1000000, got 0"),
        ({"overrides": ("training.dropout=0.2",)}, "training.dropout is both set and searched"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_written(
    project: Project, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    other = home(tmp_path / "home")
    with pytest.raises(UsageError, match=message):
        tune(project, Workspace(other), dataclasses.replace(WISH, **changed))  # type: ignore[arg-type]
    assert not other.home.exists()


def test_a_study_that_another_process_searches_is_refused(project: Project, tmp_path: Path) -> None:
    from fullcircle.store.file_locks import held

    other = home(tmp_path)
    with held(other.folder("locks") / "study-tickets.torch.lock") as ours:
        assert ours
        with pytest.raises(UsageError, match="tickets/torch is being searched by another process"):
            tune(project, Workspace(other), WISH)
