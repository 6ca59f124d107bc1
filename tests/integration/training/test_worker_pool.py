"""Processes that train many jobs: one that is killed is replaced, and its job ends as if nothing had been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.training.arrays import store
from fullcircle.training.jobs import TrainJob, job_of
from fullcircle.training.preprocessing.tabular import fit
from fullcircle.training.worker_pool import EpochDone, JobDone, JobFailed, JobStopped, Message, WorkerPool

PROJECT = """
import os
from fullcircle.core.project import *


def build_torch(inputs, params):
    from torch import nn

    class Tired(nn.Module):
        calls = 0

        def forward(self, rows):
            Tired.calls += 1
            if Tired.calls > 20 and params["broken"] == "dies":
                os._exit(3)
            if Tired.calls > 20:
                raise ValueError("no more of this")
            return rows

    first = [Tired()] if params["broken"] else []
    return nn.Sequential(*first, nn.Linear(inputs, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))


project = Project(
    name="small", owner="ops@example.com", columns=(Number("a"), Number("b")), target=Binary("y", positive="yes"),
    time="at", row_id="id", torch=build_torch,
    training=Training(epochs=4, batch_size=32, patience=4, extra={"broken": False}),
)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("place")
    (folder / "small").mkdir()
    (folder / "small" / "project.py").write_text(PROJECT)
    return load_project("small", folder)


@pytest.fixture(scope="module")
def arrays(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=600), "b": random.normal(size=600)})
    frame["y"] = (frame["a"] + random.normal(size=600) > 0).astype(int)
    frame["id"] = [f"r{number}" for number in range(600)]
    frames = SplitFrames(train=frame[:500], validation=frame[500:], test=frame[:0])
    folder = tmp_path_factory.mktemp("rows") / "arrays"
    store(project, fit(project, frames.train), frames, folder)
    return folder


def job(project: Project, arrays: Path, folder: Path, name: str) -> TrainJob:
    return job_of(project, framework="torch", data="d", arrays=arrays, run_id=name, folder=folder / name)


def children() -> set[int]:
    found = Path("/proc/self/task").glob("*/children")
    return {int(each) for path in found for each in path.read_text().split()}


def next_of(pool: WorkerPool) -> tuple[TrainJob, Message]:
    while True:
        for poll in pool.poll(1.0):
            return poll


def last_of(pool: WorkerPool) -> Message:
    """Say yes to every epoch until there is something else to hear."""
    while True:
        poll, message = next_of(pool)
        if not isinstance(message, EpochDone):
            return message
        pool.answer(poll, True)


def test_a_process_that_is_killed_is_replaced_and_its_job_ends_with_the_same_bits(
    project: Project, arrays: Path, tmp_path: Path
) -> None:
    before, notes = children(), list[str]()
    with WorkerPool(1, tmp_path / "pool", 1, notes.append) as pool:
        pool.train(job(project, arrays, tmp_path, "whole"))
        whole = last_of(pool)
        assert pool.idle == 1
        second = job(project, arrays, tmp_path, "killed")
        pool.train(second)
        for epoch in (1, 2):
            poll, message = next_of(pool)
            assert poll is second and isinstance(message, EpochDone) and message.metrics.epoch == epoch
            if epoch == 1:
                pool.answer(second, True)
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        killed = last_of(pool)
        assert children() - before != {pid}
    assert children() - before == set()
    assert isinstance(whole, JobDone) and isinstance(killed, JobDone)
    losses = [(epoch.train_loss, epoch.validation_loss, epoch.validation) for epoch in whole.history]
    assert losses == [(epoch.train_loss, epoch.validation_loss, epoch.validation) for epoch in killed.history]
    assert len(losses) == 4
    assert notes == ["the process that trained small (torch) died (exit code -9); another goes on from its checkpoint"]


def test_a_job_that_is_not_to_go_on_ends_and_the_process_takes_the_next_one(
    project: Project, arrays: Path, tmp_path: Path
) -> None:
    from fullcircle.core.project.overrides import overridden

    with WorkerPool(1, tmp_path / "pool", 1, lambda text: None) as pool:
        first = job(project, arrays, tmp_path, "first")
        pool.train(first)
        next_of(pool)
        pool.answer(first, False)
        assert next_of(pool) == (first, JobStopped())
        pool.train(job(overridden(project, ["training.broken=true"]), arrays, tmp_path, "second"))
        failed = last_of(pool)
        assert isinstance(failed, JobFailed) and isinstance(failed.error, TrainingFailed)
        assert failed.error.what == "torch: ValueError: no more of this"
        pool.train(job(project, arrays, tmp_path, "third"))
        assert isinstance(last_of(pool), JobDone)


def test_a_job_whose_process_dies_too_often_fails(project: Project, arrays: Path, tmp_path: Path) -> None:
    from fullcircle.core.project.overrides import overridden

    deadly = overridden(project, ['training.broken="dies"', "compute.max_restarts=1"])
    with WorkerPool(1, tmp_path / "pool", 1, lambda text: None) as pool:
        pool.train(job(deadly, arrays, tmp_path, "deadly"))
        failed = last_of(pool)
        assert pool.idle == 1
    assert isinstance(failed, JobFailed) and isinstance(failed.error, TrainingFailed)
    assert failed.error.what == "the process that trained small (torch) died 2 times (exit code 3)"
    assert failed.error.hint == f"what it printed is in {tmp_path / 'pool' / 'worker-0.log'}"
