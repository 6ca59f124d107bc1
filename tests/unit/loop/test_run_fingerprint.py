"""What a training leaves of itself, read from the journal that its first process wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fullcircle.core.project import Binary, Compute, Training
from fullcircle.core.records.training import Arrays, EpochMetrics
from fullcircle.loop.training_runs import run_fingerprint
from fullcircle.loop.training_runs.run_fingerprint import code_digest, fingerprint
from fullcircle.training import trainers
from fullcircle.training.jobs import Seconds, TrainJob, TrainOutcome
from fullcircle.training.launch import weights_digest
from fullcircle.training.training_loop.event_log import EventLog, event_log_path, read_events

LOSSES = [0.7 + 0.1 / step for step in range(1, 11)]


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    """A job with the journal of ten steps in two epochs, killed behind step 6 and begun again at step 5."""
    journal = EventLog(tmp_path / "rank-0.events")
    told = [(1, LOSSES[:5], None), (6, LOSSES[5:6], None), (5, LOSSES[4:8], 1), (9, LOSSES[8:], 2)]
    for first, losses, epoch in told:
        journal.steps(first, epoch or 1, losses, [1.0] * len(losses), [0] * len(losses), 1.0, Seconds())
        if epoch:
            journal.epoch(history()[epoch - 1])
    journal.close()
    return TrainJob(
        project="p", root=tmp_path, framework="torch", data="d", arrays=tmp_path, training=Training(seed=7),
        compute=Compute(threads=3), run_id="r", folder=tmp_path, storage=str(tmp_path),
    )  # fmt: skip


def history() -> tuple[EpochMetrics, ...]:
    numbers = {"train_loss": 0.6, "validation_loss": 0.5, "validation": {"roc_auc": 0.8}, "seconds": 1.0}
    return tuple(EpochMetrics.of({"epoch": epoch, **numbers}) for epoch in (1, 2))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> TrainOutcome:
    x, y = np.eye(4, 2, dtype=np.float32), np.array([0, 1, 0, 1], dtype=np.float32)
    arrays = Arrays(x_train=x, y_train=y, x_validation=x, y_validation=y)
    folder, task = tmp_path_factory.mktemp("baseline"), Binary("y", positive="yes")
    fitted = trainers.fit("baseline", None, arrays, Training(), task=task, folder=folder)
    return TrainOutcome(
        fitted=fitted, history=history(), best_epoch=2, where="local:2 on cpu: as asked", world_size=2, weights="w"
    )


def test_every_step_is_in_it_once_however_often_it_was_done(job: TrainJob, outcome: TrainOutcome) -> None:
    made, losses = fingerprint(job, outcome)
    assert losses.tolist() == LOSSES
    assert (made.steps, made.every, [epoch.step for epoch in made.epochs]) == (10, 1, [8, 10])
    assert (made.place, made.world_size, made.compute["threads"], made.training["seed"]) == ("local:2", 2, 3, 7)


def test_of_very_many_steps_some_are_kept_and_the_digest_is_over_all(
    job: TrainJob, outcome: TrainOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = fingerprint(job, outcome)
    monkeypatch.setattr(run_fingerprint, "MAX_LOSSES", 4)
    made, losses = fingerprint(job, outcome)
    assert (made.steps, made.every, made.losses) == (10, 3, whole.losses)
    assert losses.tolist() == LOSSES[::3]
    *events, steps, epoch = read_events(event_log_path(job.folder))
    event_log_path(job.folder).unlink()
    log = EventLog(event_log_path(job.folder))
    for event in (*events, {**steps, "losses": [LOSSES[8], 0.1]}, epoch):  # step 10 is kept, step 9 is not
        log.write(**event)
    assert fingerprint(job, outcome)[0].losses != whole.losses


def test_weights_have_another_digest_when_a_name_an_order_a_type_or_a_bit_is_another() -> None:
    one, two = np.arange(4, dtype=np.float32), np.arange(4, dtype=np.float32).reshape(2, 2)
    known = {
        weights_digest(each)
        for each in (
            {"a": one, "b": two},
            {"b": two, "a": one},
            {"a": one, "c": two},
            {"a": two, "b": two},
            {"a": one.astype(np.float64), "b": two},
            {"a": np.nextafter(one, np.float32(9)), "b": two},
        )
    }
    assert len(known) == 6
    assert weights_digest({"a": one.copy(), "b": two.copy()}) in known


def test_the_code_of_a_project_is_its_python_files_but_for_hidden_folders(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text("x = 1\n")
    digest = code_digest(tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "other.py").write_text("y = 1\n")
    (tmp_path / "README.md").write_text("words\n")
    assert code_digest(tmp_path) == digest
    (tmp_path / "layers.py").write_text("")
    assert code_digest(tmp_path) != digest
