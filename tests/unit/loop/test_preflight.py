"""What cannot be trained or gone on with is refused before any work: on real folders, without a tracker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Compute, Number, Project, Torch
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.loop.training_runs.preflight import require_checkpoint, require_trainable
from fullcircle.training.checkpoints.checkpoint_store import LATEST


def project(**given: Any) -> Project:
    return Project(
        name="tickets",
        owner="someone@example.com",
        columns=(Number("x"),),
        target=Binary("late", "late"),
        time="at",
        row_id="id",
        models={"torch": Torch(lambda inputs, params: None), "wide": Torch(lambda inputs, params: None)},
        **given,
    )


@pytest.mark.parametrize("name", ["baseline", "torch", "wide"])
def test_each_model_of_the_project_may_be_trained_by_its_name(name: str) -> None:
    require_trainable(project(), name, tensorboard=False)


def test_a_model_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no framework 'jax'") as unknown:
        require_trainable(project(), "jax", tensorboard=False)
    assert unknown.value.hint == "project 'tickets' has baseline, torch, wide"
    with pytest.raises(UsageError, match="project 'tickets' has no function that builds a model in keras") as missing:
        require_trainable(project(), "keras", tensorboard=False)
    assert str(missing.value.hint).startswith("it has baseline, torch, wide")


def test_a_place_that_there_is_not_is_refused_before_the_data_is_read() -> None:
    with pytest.raises(UsageError, match="moon"):
        require_trainable(project(compute=Compute(where="moon")), "torch", tensorboard=False)


@pytest.mark.parametrize("storage", [False, True], ids=["in the home", "where compute says"])
def test_a_stopped_training_goes_on_where_there_is_a_checkpoint_and_is_refused_where_there_is_none(
    tmp_path: Path, storage: bool
) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    stored = project(compute=Compute(storage=str(tmp_path / "elsewhere"))) if storage else project()
    place = tmp_path / "elsewhere" / "r1" if storage else settings.home / "jobs" / "r1" / "checkpoints"
    with pytest.raises(UsageError, match="run r1 has no checkpoint in") as none:
        require_checkpoint(stored, settings, "r1")
    assert str(place) in str(none.value)
    place.mkdir(parents=True)
    (place / LATEST).write_text("step-10")
    require_checkpoint(stored, settings, "r1")


def test_without_a_terminal_progress_is_log_lines_and_what_comes_from_outside_stays_in_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="fullcircle")
    seen = progress.current()
    seen.stage("train", "two\nlines \x1b[31m")
    seen.advance("send", 3, 7)
    seen.advance("send", 7, 7)
    seen.epoch(
        "torch",
        EpochMetrics(epoch=2, train_loss=0.5, validation_loss=0.25, validation={"roc_auc": 0.7}, seconds=1.5),
        9,
    )
    first, sent, epoch = (record.getMessage() for record in caplog.records)
    assert "\n" not in first
    assert "\x1b" not in first
    assert sent == "send: 7 of 7"
    assert epoch.startswith("torch epoch 2/9: train loss 0.5000, ")


def test_whoever_shows_progress_is_asked_within_its_block_alone() -> None:
    own = progress.LogProgress()
    with progress.shown_by(own):
        assert progress.current() is own
        with progress.shown_by(progress.LogProgress()) as inner:
            assert progress.current() is inner
        assert progress.current() is own
    assert progress.current() is not own
