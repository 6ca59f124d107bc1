"""A training done again from what its run recorded: the same bits, or the first cause of other ones."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fullcircle.apps.reproduction.reproduce import RerunOptions, reproduce
from fullcircle.cli import fullcircle
from fullcircle.core.errors import UsageError
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.repro_compare import Agreement
from fullcircle.core.records.repro_report import Difference, DifferenceKind, Reproduction
from fullcircle.core.settings import Settings
from fullcircle.loop.training_runs.train import TrainRequest, train
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.runs.run_schema import DIFF, NOT_KEPT, REQUIREMENTS
from fullcircle.tracking.runs.run_store import RunStore


@dataclass(frozen=True)
class Place:
    """A git repository with a project whose models were never committed, and what was trained in it.

    Attributes:
        packages: folder of a small installed package, `wobble`, that the project imports.
    """

    folder: Path
    home: Path
    packages: Path

    @property
    def settings(self) -> Settings:
        return Settings.from_env({"FULLCIRCLE_HOME": str(self.home)})

    def command(self, *words: str, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fullcircle.cli", *words],
            cwd=self.folder,
            env=self.env(packages or self.packages),
            capture_output=True,
            text=True,
            timeout=240,
        )

    def env(self, packages: Path) -> dict[str, str]:
        return {
            **os.environ,
            "FULLCIRCLE_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH", "")))),
            "COLUMNS": "200",
        }


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def wobble(folder: Path, version: str, rate: float) -> Path:
    """A package as pip would install it, which decides how much the models drop out."""
    about = folder / f"wobble-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: wobble\nVersion: {version}\n")
    (about / "top_level.txt").write_text("wobble\n")
    (folder / "wobble.py").write_text(f"RATE = {rate}\n")
    return folder


def rewrite(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One retrain, made with changes that were never committed; afterwards the checkout is at a later, clean commit."""
    from fullcircle.scaffold.new_project import create

    folder = tmp_path_factory.mktemp("repository")
    create("tickets", folder)
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("__pycache__\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    rewrite(
        folder / "tickets" / "project.py",
        ("from typing import Any\n", "from typing import Any\n\nimport wobble\nfrom tickets.sizes import WIDTH\n"),
        ("nn.ReLU(),\n        nn.Linear(width // 2, 1)", "nn.Dropout(wobble.RATE),\n        nn.Linear(width // 2, 1)"),
        ("keras.layers.Dense(1)", "keras.layers.Dropout(wobble.RATE),\n            keras.layers.Dense(1)"),
        ("epochs=30", "epochs=2"),
        ('extra={"width": 64}', 'extra={"width": WIDTH}'),
    )
    (folder / "tickets" / "sizes.py").write_text("WIDTH = 24\n")
    packages = wobble(tmp_path_factory.mktemp("packages"), "1.0", rate=0.2)
    made = Place(folder=folder, home=tmp_path_factory.mktemp("home"), packages=packages)
    done = made.command("run", "tickets")
    assert done.returncode == 0, done.stderr
    (folder / "tickets" / "sizes.py").unlink()
    git(folder, "checkout", "-q", ".")
    (folder / "tickets" / "README.md").write_text("later\n")
    git(folder, "commit", "-q", "-a", "-m", "second")
    return made


@pytest.fixture
def again(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reproduction]:
    """Reproduces a run as somebody in the repository would, with the packages that are given."""
    monkeypatch.chdir(place.folder)

    def run(reference: str, packages: Path = place.packages, **words: Any) -> Reproduction:
        monkeypatch.setenv("PYTHONPATH", place.env(packages)["PYTHONPATH"])
        return reproduce(Workspace(place.settings), reference, RerunOptions(**words))

    return run


def verdicts(place: Place, run_id: str) -> set[str]:
    client = mlflow.MlflowClient(place.settings.tracking_uri)
    return {each.path for each in client.list_artifacts(run_id, "reproduction")}


def nothing_is_left(place: Place) -> None:
    assert len(git(place.folder, "worktree", "list").splitlines()) == 1
    assert git(place.folder, "status", "--porcelain") == ""
    assert list((place.home / "reproductions").iterdir()) == []


@pytest.mark.parametrize("framework", ["baseline", "torch", "keras"])
def test_uncommitted_models_come_back_to_the_last_bit(
    framework: str, place: Place, again: Callable[..., Reproduction]
) -> None:
    result = again(framework)
    assert (result.verdict, result.differences, result.framework) == ("bitwise", (), framework)
    assert result.comparison.weights
    assert result.comparison.steps_now == result.comparison.steps_then
    assert (result.comparison.steps_then > 0) == (framework != "baseline")
    assert result.code.endswith("and its uncommitted changes")
    nothing_is_left(place)


def test_the_verdict_is_kept_with_the_run_and_nothing_else_changes(
    place: Place, again: Callable[..., Reproduction]
) -> None:
    client = mlflow.MlflowClient(place.settings.tracking_uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = len(client.search_runs(experiments))
    run_id = RunStore(place.settings).find("baseline")
    kept = verdicts(place, run_id)
    again("baseline")
    (new,) = verdicts(place, run_id) - kept
    value = json.loads(RunStore(place.settings).download(run_id, new).read_text())
    assert (value["verdict"], value["comparison"]["weights"], value["causes"]) == ("bitwise", True, [])
    assert client.get_run(run_id).data.tags["fullcircle.reproduction"].startswith("bitwise (")
    assert len(client.search_runs(experiments)) == runs


def test_another_seed_is_named_as_the_cause(again: Callable[..., Reproduction]) -> None:
    result = again("torch", overrides=("training.seed=1",))
    assert result.verdict == "diverged at step 1"
    assert result.causes == (
        Difference(
            kind=DifferenceKind.PARAMETER, name="training.seed", what="training.seed: 13 -> 1", then="13", now="1"
        ),
    )


def test_a_changed_row_is_named_as_the_cause(place: Place, again: Callable[..., Reproduction], tmp_path: Path) -> None:
    other = shutil.copytree(place.folder / "tickets" / "data", tmp_path / "data")
    file = sorted(other.glob("*.parquet"))[1]
    rows = pd.read_parquet(file)
    rows.loc[5, "queue"] += 40
    rows.to_parquet(file, index=False)
    result = again("torch", data=other)
    assert (result.comparison.outcome, result.comparison.arrays) == (Agreement.DIVERGED, False)
    (cause,) = result.causes
    assert (cause.kind, cause.name) == (DifferenceKind.DATA, file.name)
    before, after = rows.loc[5, "queue"] - 40, rows.loc[5, "queue"]
    assert cause.what == (
        f"{file.name}: 1 of {len(rows):,} rows changed, the first is row 5, column 'queue': {before} -> {after}"
    )


def test_another_version_of_a_package_is_named_as_the_cause(again: Callable[..., Reproduction], tmp_path: Path) -> None:
    result = again("torch", packages=wobble(tmp_path, "2.0", rate=0.5))
    assert result.comparison.outcome is Agreement.DIVERGED
    assert result.causes == (
        Difference(kind=DifferenceKind.PACKAGE, name="wobble", what="wobble: 1.0 -> 2.0", then="1.0", now="2.0"),
    )


def test_the_packages_that_a_run_recorded_are_what_it_is_held_against(
    place: Place, again: Callable[..., Reproduction]
) -> None:
    recorded = RunStore(place.settings).download(RunStore(place.settings).find("baseline"), REQUIREMENTS).read_text()
    with rewritten(place, REQUIREMENTS, recorded.replace(f"numpy=={np.__version__}\n", "numpy==1.0\n"), recorded):
        result = again("baseline")
    assert (result.verdict, result.causes) == ("bitwise", ())
    assert [each.what for each in result.differences] == [f"numpy: 1.0 -> {np.__version__}"]


def test_what_is_missing_of_the_code_is_said(place: Place, again: Callable[..., Reproduction]) -> None:
    diff = RunStore(place.settings).download(RunStore(place.settings).find("baseline"), DIFF).read_text()
    with (
        rewritten(place, DIFF, diff.replace("epochs=30", "epochs=31"), diff),
        rewritten(place, NOT_KEPT, '["tickets/weights.npz", "README.md", "tickets/data/2024-01.parquet"]', "[]"),
    ):
        result = again("baseline")
    assert result.code.endswith("without its uncommitted changes")
    lost, code, file = result.differences
    assert lost.what.startswith("the uncommitted changes do not apply (patch failed: tickets/project.py")
    assert code.what == "the project's .py files are others"
    assert (file.kind, file.name) == (DifferenceKind.FILE, "tickets/weights.npz")
    nothing_is_left(place)


@contextlib.contextmanager
def rewritten(place: Place, artifact: str, text: str, before: str) -> Iterator[None]:
    """Within the block the baseline's run has another artifact."""
    tracker = RunStore(place.settings)
    run = tracker.append(tracker.find("baseline"))
    run.text(text, artifact)
    try:
        yield
    finally:
        run.text(before, artifact)


def test_a_project_that_is_not_in_git_is_trained_as_it_lies(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fullcircle.scaffold.new_project import create

    create("loose", tmp_path)
    monkeypatch.chdir(tmp_path)
    command = CliRunner(env={"FULLCIRCLE_HOME": str(place.home), "COLUMNS": "200"})
    run_id = train(load_project("loose"), Workspace(place.settings), TrainRequest(framework="baseline")).run_id
    same = command.invoke(fullcircle, ["reproduce", run_id, "--json"])
    value = json.loads(same.stdout)
    assert (same.exit_code, value["verdict"], value["run_id"], value["causes"]) == (0, "bitwise", run_id, [])
    assert value["notes"] == ["the project was not in git when the run was made: its folder was used as it is"]
    rewrite(tmp_path / "loose" / "project.py", ("validation=timedelta(days=5)", "validation=timedelta(days=9)"))
    other = command.invoke(fullcircle, ["reproduce", run_id[:10], "--no-record"])
    assert other.exit_code == 1, other.output
    assert "diverged at epoch 1\nsuspected causes:\n  1. code: the project's .py files are others\n" in other.output


def test_a_commit_that_is_not_here_is_said(place: Place, again: Callable[..., Reproduction], tmp_path: Path) -> None:
    copy = shutil.copytree(place.folder / "tickets", tmp_path / "tickets")
    kept = verdicts(place, RunStore(place.settings).find("baseline"))
    result = again("baseline", project=copy, record=False, keep=True)
    assert verdicts(place, result.run_id) == kept
    left = Path(result.kept)
    assert {"data", "result.json", "training.log"} <= {path.name for path in left.iterdir()}
    shutil.rmtree(left)
    commit = git(place.folder, "rev-parse", "HEAD~1")
    assert result.verdict == "bitwise"  # the baseline calls no model function: what is missing has no effect
    assert [each.what for each in result.differences] == [
        f"commit {commit[:12]} is in no repository here: the project was used as it is",
        "the project's .py files are others",
    ]


def test_data_that_cannot_come_back_is_refused_by_name(place: Place, again: Callable[..., Reproduction]) -> None:
    away = [(path, path.with_name(f"{path.name}-away")) for path in (place.home / "dvc-remote", place.home / "dvc")]
    for path, aside in away:
        path.rename(aside)
    try:
        with pytest.raises(UsageError, match=r"cannot be reproduced: data version .* cannot come back") as refused:
            again("baseline")
    finally:
        for path, aside in away:
            shutil.rmtree(path, ignore_errors=True)
            aside.rename(path)
    assert refused.value.hint == "--data PATH trains on another folder of partitions"
    nothing_is_left(place)


def test_what_cannot_be_reproduced_is_refused_in_one_line(place: Place, again: Callable[..., Reproduction]) -> None:
    project, tracker = load_project("loose-end", made_project(place)), RunStore(place.settings)
    with tracker.start(project, name="told-nothing", kind="train"):
        pass
    with pytest.raises(UsageError, match=r"\(train\) cannot be reproduced: it has no training/job.json"):
        again("told-nothing")
    stopped = tracker.start(project, name="stopped-short", kind="train")
    stopped.end("FAILED", "on purpose")
    with pytest.raises(UsageError, match=r"did not come to its end \(FAILED\)"):
        again("stopped-short")
    retrain = next(each for each in tracker.states(dataclasses.replace(project, name="tickets"), "retrain"))
    with pytest.raises(UsageError, match="is a retrain of several models"):
        again(retrain.run_id)
    with pytest.raises(UsageError, match=r"no run 'torhc'; the nearest are .*torch"):
        again("torhc")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_leaves_nothing_behind(place: Place, by: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fullcircle.cli", "reproduce", "torch"],
        cwd=place.folder,
        env=place.env(place.packages),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "train again" in line:
            process.send_signal(by)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 130, rest
    nothing_is_left(place)


def made_project(place: Place) -> Path:
    """A folder with the project `loose-end`, which has no models of its own to train."""
    from fullcircle.scaffold.new_project import create

    folder = place.home / "apart"
    folder.mkdir()
    create("loose-end", folder)
    return folder
