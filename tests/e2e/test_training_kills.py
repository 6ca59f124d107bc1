"""Training is killed in every way that happens and goes on: the same rows, losses and weights, bit by bit.

Dropout is on, so that random state counts. When to kill is read from the journals, never from a clock.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullcircle.training.launchers import rank_processes
from fullcircle.training.training_loop.event_log import read_events

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(600)]

PROJECT = """
from fullcircle.core.project import Binary, Number, Project

def build_torch(inputs, params):
    from torch import nn
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Dropout(params["dropout"]), nn.Linear(64, 1))

def build_keras(inputs, params):
    import keras
    from keras import layers
    hidden = [layers.Dense(64, "relu"), layers.Dropout(params["dropout"])]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(1)])

project = Project(
    name="boxes", owner="tests@example.com", columns=tuple(Number(f"c{i}") for i in range(8)),
    target=Binary("broke", "broke within a week"), time="at", row_id="box", torch=build_torch, keras=build_keras,
)
"""

LAUNCHER = """
import json, sys
from pathlib import Path
from fullcircle.core.settings import quiet_dependencies
quiet_dependencies()
from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Compute, Training
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launch import launch

root, folder, framework, where, compute, dropout, epochs = sys.argv[1:]
job = TrainJob(
    project="boxes", root=Path(root), framework=framework, data="d1", arrays=Path(root) / "arrays", run_id="run",
    training=Training(epochs=int(epochs), patience=999, batch_size=64, seed=3, extra={"dropout": float(dropout)}),
    compute=Compute(checkpoint_every_steps=5, checkpoint_every_s=None, **json.loads(compute)),
    folder=Path(folder), storage=str(Path(folder) / "checkpoints"),
)
try:
    outcome = launch(job, where=where)
except FullcircleError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
print(json.dumps({"restarts": outcome.restarts, "size": outcome.world_size, "warnings": outcome.warnings}))
"""

STEPS = 6 * 38
"""Of the whole training: 2,400 rows in batches of 64, six times."""


@dataclass
class Training:
    """One job in a folder of its own; each `with start(...)` is a launcher."""

    root: Path
    framework: str
    folder: Path
    dropout: float = 0.3
    epochs: int = 6
    compute: dict[str, Any] = field(default_factory=dict)

    def start(self, where: str = "local:2") -> subprocess.Popen[str]:
        compute = json.dumps(self.compute)
        words = [str(self.root), str(self.folder), self.framework, where, compute, str(self.dropout), str(self.epochs)]
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def step(self) -> int:
        """The last step in rank 0's journal."""
        return max((e["first"] + len(e["losses"]) - 1 for e in self.journal(0)), default=0)

    def journal(self, rank: int) -> list[dict[str, Any]]:
        return [entry for entry in read_events(self.folder / f"rank-{rank}.events") if entry["kind"] == "steps"]

    def ranks(self) -> list[rank_processes.RankProcess]:
        return [process for process in rank_processes.read(self.folder) if process.alive]

    def told(self, rank: int) -> dict[int, tuple[float, int]]:
        """Loss and checksum of the sample ids of each step; what was done twice must have come to the same."""
        steps: dict[int, tuple[float, int]] = {}
        for entry in self.journal(rank):
            for offset, (loss, rows) in enumerate(zip(entry["losses"], entry["checksums"], strict=True)):
                step = entry["first"] + offset
                assert steps.setdefault(step, (loss, rows)) == (loss, rows), f"step {step} was another one before"
        return steps

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.folder / "best.npz") as file:
            return dict(file)


def until(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    """Poll until it is so; the launcher must not end before."""
    while not true():
        if process.poll() is not None:
            pytest.fail(f"the launcher ended too early: {process.communicate()}")
        time.sleep(0.01)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    ended: dict[str, Any] = json.loads(out.splitlines()[-1])
    return ended


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project and its arrays on disk, as any process finds them."""
    root = tmp_path_factory.mktemp("workplace")
    (root / "boxes").mkdir()
    (root / "boxes" / "project.py").write_text(PROJECT)
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 8)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=3000) > 0.5).astype(np.float32)
    parts = {"x_train": x[:2400], "y_train": y[:2400], "x_validation": x[2400:], "y_validation": y[2400:]}
    (root / "arrays").mkdir()
    for name, values in parts.items():
        np.save(root / "arrays" / f"{name}.npy", values)
    np.save(root / "arrays" / "ids_train.npy", np.array([f"r{row}" for row in range(2400)]))
    (root / "arrays" / "arrays.json").write_text(json.dumps({"digest": "0", "project": "boxes"}))
    return root


@pytest.fixture(scope="module", params=["torch", pytest.param("keras", marks=pytest.mark.nightly)])
def whole(request: pytest.FixtureRequest, root: Path) -> Training:
    """A training that nobody disturbed."""
    training = Training(root, request.param, root / f"{request.param}-whole")
    assert finished(training.start())["restarts"] == 0
    return training


@pytest.fixture
def again(whole: Training, tmp_path: Path) -> Iterator[Training]:
    """The same training anew, to be disturbed; it ends like the one that was not, and leaves no process behind."""
    training = Training(whole.root, whole.framework, tmp_path / "job")
    yield training
    assert training.ranks() == []


def assert_same(one: Training, other: Training) -> None:
    for rank in (0, 1):
        told = one.told(rank)
        assert sorted(told) == list(range(1, STEPS + 1))
        assert told == other.told(rank)
    expected, actual = other.weights(), one.weights()
    assert sorted(actual) == sorted(expected)
    for name, values in expected.items():
        assert actual[name].tobytes() == values.tobytes(), f"{name} differs"


def test_ranks_that_are_killed_one_or_all_are_replaced_and_nothing_is_another(whole: Training, again: Training) -> None:
    launcher = again.start()
    until(launcher, lambda: again.step() > 40)
    again.ranks()[1].send(signal.SIGKILL)
    killed = again.ranks() + [process for process in rank_processes.read(again.folder) if process.rank == 1]
    until(launcher, lambda: again.step() > 110 and len(again.ranks()) == 2 and again.ranks()[0] not in killed)
    for process in again.ranks():
        process.send(signal.SIGKILL)
    ended = finished(launcher)
    assert ended["restarts"] == 2
    assert any("rank 1 (process" in warning and "died" in warning for warning in ended["warnings"])
    assert_same(again, whole)


@pytest.mark.parametrize("whole", ["torch"], indirect=True)  # the watchdog knows no framework
def test_a_rank_that_hangs_is_noticed_its_stacks_are_kept_and_the_ranks_are_replaced(
    whole: Training, again: Training
) -> None:
    again.compute = {"stall_s": 3.0}
    launcher = again.start()
    until(launcher, lambda: again.step() > 40)
    stopped = again.ranks()[1]
    stopped.send(signal.SIGSTOP)
    ended = finished(launcher)
    assert ended["restarts"] == 1
    assert any("rank 1 was stopped" in warning for warning in ended["warnings"])
    for rank in (0, 1):
        dump = (again.folder / "stacks" / f"rank-{rank}-0.txt").read_text()
        assert "Current thread" in dump or "Thread 0x" in dump
        assert f"rank {rank}, process" in dump
    assert_same(again, whole)


def test_a_launcher_that_is_killed_told_to_stop_or_killed_in_a_checkpoint_is_launched_again(
    whole: Training, again: Training
) -> None:
    launcher = again.start()
    until(launcher, lambda: again.step() > 40)
    launcher.kill()
    launcher.communicate()

    launcher = again.start()
    reached = again.step()
    until(launcher, lambda: again.step() > reached + 30)
    launcher.terminate()
    _, err = launcher.communicate()
    assert launcher.returncode == 75, err
    assert err.startswith("Preempted: preempted at step")

    launcher = again.start()
    reached = again.step()
    part = again.folder / "checkpoints"
    until(launcher, lambda: again.step() > reached + 10 and any(part.glob("*.part")))
    for process in again.ranks():
        process.send(signal.SIGKILL)
    launcher.kill()
    launcher.communicate()

    finished(again.start())
    assert_same(again, whole)


@pytest.mark.nightly
def test_ray_replaces_a_worker_that_is_killed_passes_on_sigterm_and_another_place_goes_on(
    whole: Training, again: Training
) -> None:
    launcher = again.start("ray:2")
    until(launcher, lambda: again.step() > 40)
    again.ranks()[1].send(signal.SIGKILL)
    reached = again.step()
    until(launcher, lambda: again.step() > reached + 30)
    launcher.terminate()
    _, err = launcher.communicate()
    assert launcher.returncode == 75, err
    assert again.ranks() == []
    assert (again.folder / "attempts").read_text() == ".."
    finished(again.start())
    assert_same(again, whole)


# Two nodes: a head, and one that has the places. A line on standard input drains that one, as a spot machine is.
CLUSTER = """
import subprocess, sys
from pathlib import Path
from ray.cluster_utils import Cluster

alike = {"include_dashboard": False, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **alike})
node = cluster.add_node(num_cpus=2, **alike)
print(cluster.address, flush=True)
if sys.stdin.readline():
    words = ["drain-node", "--address", cluster.address, "--node-id", node.node_id, "--reason-message", "spot"]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds", "300"]
    subprocess.run([Path(sys.executable).with_name("ray"), *words], check=True, capture_output=True)
    print("drained", flush=True)
    sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """A Ray cluster in a process of its own: it asks which address this machine has, which no test may."""
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
    )
    yield process
    process.communicate()  # the end of its input ends it


@pytest.mark.nightly
def test_a_node_that_ray_is_about_to_lose_stops_the_training_with_a_checkpoint(
    root: Path, tmp_path: Path, cluster: subprocess.Popen[str]
) -> None:
    assert cluster.stdin is not None and cluster.stdout is not None
    training = Training(root, "torch", tmp_path / "job", epochs=400)
    launcher = training.start(f"{cluster.stdout.readline().strip()}/2")
    until(launcher, lambda: training.step() > 40)
    cluster.stdin.write("drain\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "drained\n"
    _, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 75, err
    step = json.loads((training.folder / "preempted.json").read_text())["step"]
    assert step == training.step()
    assert (training.folder / "checkpoints" / f"step-{step:010d}" / "manifest.json").exists()


@pytest.mark.nightly
@pytest.mark.parametrize(
    "whole", ["torch"], indirect=True
)  # Keras' in integration/training/test_keras_process_groups.py
def test_a_training_goes_on_in_a_world_of_another_size(whole: Training, again: Training) -> None:
    again.dropout = 0.0  # a mask depends on which rank a row is on
    for where, to in (("local:2", 40), ("inline", 120)):
        launcher = again.start(where)
        until(launcher, lambda to=to: again.step() > to)  # type: ignore[misc]
        launcher.terminate()
        _, err = launcher.communicate()
        assert launcher.returncode == 75, err
    assert finished(again.start())["size"] == 2
    steps, undisturbed = again.told(0), whole.told(0)
    assert [steps[step][1] for step in range(1, STEPS + 1)] == [undisturbed[step][1] for step in range(1, STEPS + 1)], (
        "the rows of a step depend on neither the size nor the kills"
    )
    straight = Training(again.root, again.framework, again.folder.with_name("straight"), dropout=0.0)
    finished(straight.start("inline"))
    for name, values in straight.weights().items():
        np.testing.assert_allclose(again.weights()[name], values, atol=1e-6)


def test_sigterm_to_one_rank_alone_stops_all_of_them_with_a_checkpoint(root: Path, tmp_path: Path) -> None:
    training = Training(root, "torch", tmp_path / "job")
    launcher = training.start()
    until(launcher, lambda: training.step() > 40)
    training.ranks()[1].send(signal.SIGTERM)
    _, err = launcher.communicate()
    assert launcher.returncode == 75, err
    step = json.loads((training.folder / "preempted.json").read_text())["step"]
    assert (training.folder / "checkpoints" / f"step-{step:010d}" / "manifest.json").exists()


def test_ranks_that_die_again_and_again_end_the_job_with_one_line(root: Path, tmp_path: Path) -> None:
    training = Training(root, "torch", tmp_path / "job", compute={"max_restarts": 0})
    launcher = training.start()
    until(launcher, lambda: training.step() > 10)
    training.ranks()[0].send(signal.SIGKILL)
    _, err = launcher.communicate()
    assert launcher.returncode == 1
    assert err.count("\n") == 1
    assert "was killed by SIGKILL" in err
    assert "replaced 0 times" in err


def test_a_second_launcher_of_the_same_job_is_sent_away(root: Path, tmp_path: Path) -> None:
    training = Training(root, "torch", tmp_path / "job", epochs=100_000)
    first = training.start("inline")
    until(first, lambda: training.step() > 0)
    second = training.start("inline")
    _, err = second.communicate()
    assert second.returncode == 1
    assert "is being trained by another process" in err
    os.kill(first.pid, signal.SIGTERM)
    first.communicate()
