"""What the training loop keeps in every framework: stopped anywhere, it comes to the very same model."""

from __future__ import annotations

import dataclasses
import re
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullcircle.core.errors import FullcircleError, HomeUnwritable, Preempted, TrainingFailed, UsageError
from fullcircle.core.project import Binary, Compute, ModelFunction, Training
from fullcircle.core.records.training import Arrays
from fullcircle.training.jobs import RankJob
from fullcircle.training.on_keras.framework import FRAMEWORK as KERAS
from fullcircle.training.on_torch.framework import FRAMEWORK as TORCH
from fullcircle.training.ports import Framework
from fullcircle.training.training_loop.event_log import EventLog, NullListener, read_events
from fullcircle.training.training_loop.rank_job import train_rank
from fullcircle.training.training_loop.train_state import TrainState

FRAMEWORKS: dict[str, Framework] = {"torch": TORCH, "keras": KERAS}
TASK = Binary("broken", positive="broke")
PARAMS = Training(epochs=2, batch_size=32, patience=2, learning_rate=5e-3, seed=3)
COMPUTE = Compute(checkpoint_every_s=None, checkpoint_every_steps=5, keep=3)
ROWS = 400  # 13 steps an epoch, the last of 16 rows


def build_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(0.4), nn.Linear(128, 1))


def build_keras(inputs: int, params: Mapping[str, Any]) -> Any:
    import keras
    from keras import layers

    return keras.Sequential(
        [keras.Input((inputs,)), layers.Dense(128, activation="relu"), layers.Dropout(0.4), layers.Dense(1)]
    )


BUILD: dict[str, ModelFunction] = {"torch": build_torch, "keras": build_keras}


@pytest.fixture(params=["torch", "keras"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def table(poisoned: int | None = None) -> Arrays:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS + 100, 5)).astype(np.float32)
    y = (random.random(len(x)) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.float32)
    if poisoned is not None:
        x[poisoned, 1] = np.inf
    ids = np.array([f"id-{row}" for row in range(ROWS)])
    return Arrays(x_train=x[:ROWS], y_train=y[:ROWS], x_validation=x[ROWS:], y_validation=y[ROWS:], ids_train=ids)


class Notes(NullListener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class KilledAt(NullListener):
    """Raises as soon as this step was told of: nothing is written any more, as after a kill."""

    def __init__(self, step: int) -> None:
        self.step = step

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
        if first + len(losses) > self.step:
            raise KeyboardInterrupt


def train(name: str, folder: Path, listener: NullListener | None = None, **changes: Any) -> TrainState:
    given: dict[str, Any] = {"arrays": table(), "training": PARAMS, "compute": COMPUTE}
    rank_job = RankJob(
        project="pumps", task=TASK, build=BUILD[name], storage=str(folder / "kept"), folder=folder, **(given | changes)
    )
    event_log = EventLog(folder / "rank-0.events", listener)
    chosen = FRAMEWORKS[name]
    try:
        with chosen.process_group(rank_job.compute) as process_group:
            state, _ = train_rank(chosen, rank_job, process_group, event_log)
    finally:
        event_log.close()
    return state


def steps_of(folder: Path) -> dict[int, tuple[float, float, int]]:
    """Step -> loss, norm and sample checksum, as last written."""
    found = {}
    for entry in read_events(folder / "rank-0.events"):
        if entry["kind"] == "steps":
            for index, values in enumerate(zip(entry["losses"], entry["norms"], entry["checksums"], strict=True)):
                found[entry["first"] + index] = values
    return found


def same(one: TrainState, other: TrainState) -> bool:
    losses = [[(e.train_loss, e.validation_loss) for e in each.history] for each in (one, other)]
    return losses[0] == losses[1] and all(one.best[key].tobytes() == other.best[key].tobytes() for key in one.best)


@pytest.mark.parametrize("step", [13, *(pytest.param(step, marks=pytest.mark.nightly) for step in (1, 7, 21))])
def test_stopped_dead_at_any_step_it_comes_to_the_very_same_model(name: str, step: int, tmp_path: Path) -> None:
    whole = train(name, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "killed", KilledAt(step))
    resumed = train(name, tmp_path / "killed")
    assert same(whole, resumed)
    assert steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole")


def test_told_to_stop_it_leaves_a_checkpoint_of_that_very_step(name: str, tmp_path: Path) -> None:
    told = iter([False] * 3 + [True] * 100)
    with pytest.raises(Preempted) as preempted:
        train(name, tmp_path / "told", stop=lambda: next(told))
    assert preempted.value.exit_code == 75
    step = preempted.value.step
    assert (tmp_path / "told" / "kept" / f"step-{step:010d}").is_dir()
    notes = Notes()
    resumed = train(name, tmp_path / "told", notes)
    assert notes.notes == [f"going on from the checkpoint of step {step}"]
    assert same(train(name, tmp_path / "whole"), resumed)


def test_a_damaged_checkpoint_costs_one_interval_and_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "killed", KilledAt(18))
    newest = max(path for path in (tmp_path / "killed" / "kept").iterdir() if path.name.startswith("step-"))
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-3])
    notes = Notes()
    resumed = train(name, tmp_path / "killed", notes)
    assert f"{newest} is damaged ({largest.relative_to(newest)} is not what was written)" in notes.notes[0]
    assert same(train(name, tmp_path / "whole"), resumed)


def test_a_longer_training_goes_on_from_a_shorter_one(name: str, tmp_path: Path) -> None:
    train(name, tmp_path / "grown", training=dataclasses.replace(PARAMS, epochs=1))
    assert same(train(name, tmp_path / "grown"), train(name, tmp_path / "whole"))


def test_a_spent_budget_ends_with_the_best_epoch_so_far(name: str, tmp_path: Path) -> None:
    spent = train(name, tmp_path, compute=dataclasses.replace(COMPUTE, budget_s=1e-6))
    assert len(spent.history) == 1
    assert spent.step < 13
    assert spent.best


def test_a_row_that_makes_numbers_bad_is_named_with_its_step_and_layer(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingFailed, match=rf"{name}: non-finite at step \d+ in layer .+, forward pass, samples id-77;"
    ):
        train(name, tmp_path, arrays=table(poisoned=77))
    steps = steps_of(tmp_path)
    assert all(np.isfinite(values[:2]).all() for values in steps.values())
    assert sorted(steps) == list(range(1, len(steps) + 1))


def greedy_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    import torch
    from torch import nn

    class Greedy(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + (torch.ones(2**50).sum() if self.training else 0)

    return Greedy(inputs, 1)


def greedy_keras(inputs: int, params: Mapping[str, Any]) -> Any:
    import keras
    import tensorflow as tf

    class Greedy(keras.layers.Dense):
        def call(self, x: Any, training: bool = False) -> Any:
            if not training:
                return super().call(x)
            values = tf.cast(tf.shape(x)[:1], tf.int64) * 2**40
            return super().call(x) + tf.reduce_sum(tf.random.normal(values))

    return keras.Sequential([keras.Input((inputs,)), Greedy(1)])


def test_memory_that_runs_out_names_the_batch_and_what_to_try(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILD, name, {"torch": greedy_torch, "keras": greedy_keras}[name])
    with pytest.raises(
        TrainingFailed, match=r"out of memory at batch size 32 \(32 rows at once .*set compute.accumulate to 2"
    ):
        train(name, tmp_path)


def test_a_checkpoint_of_another_project_or_of_other_parameters_is_refused(name: str, tmp_path: Path) -> None:
    train(name, tmp_path, training=dataclasses.replace(PARAMS, epochs=1))
    with pytest.raises(UsageError, match=r"belongs to another training \(parameters"):
        train(name, tmp_path, training=dataclasses.replace(PARAMS, seed=4))


def test_checkpoints_on_an_object_store_are_found_from_elsewhere(name: str, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    with pytest.raises(KeyboardInterrupt):
        _stored(name, tmp_path / "here", url, KilledAt(9))
    notes = Notes()
    resumed = _stored(name, tmp_path / "there", url, notes)
    assert notes.notes == ["going on from the checkpoint of step 5"]
    assert same(train(name, tmp_path / "whole"), resumed)


def _stored(name: str, folder: Path, url: str, listener: NullListener) -> TrainState:
    rank_job = RankJob(
        project="pumps",
        task=TASK,
        build=BUILD[name],
        arrays=table(),
        training=PARAMS,
        compute=COMPUTE,
        storage=url,
        folder=folder,
    )
    chosen = FRAMEWORKS[name]
    with chosen.process_group(COMPUTE) as process_group:
        return train_rank(chosen, rank_job, process_group, EventLog(folder / "rank-0.events", listener))[0]


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(name: str, tmp_path: Path) -> None:
    """In a process of its own that may write no file over 8,000 bytes from the first epoch's end on."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_training_loop_contract as here
raise SystemExit(here.train_on_a_full_disk({name!r}, Path({str(tmp_path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write a checkpoint to {tmp_path / 'kept'} (")
    assert re.search(r"the checkpoint of step (5|10) is intact; free some space there and resume", done.stdout)
    resumed = train(name, tmp_path)
    assert same(train(name, tmp_path / "whole"), resumed)


def train_on_a_full_disk(name: str, folder: Path) -> int:
    """Prints the error's line; 0 when it was one of ours."""

    class Full(NullListener):
        def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
            if first + len(losses) > 11:
                resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))

    try:
        train(name, folder, Full())
    except HomeUnwritable as error:
        print(error)
        return 0
    except FullcircleError as error:
        print(type(error).__name__, error)
    return 1
