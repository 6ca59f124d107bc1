"""Checkpoints: whole or absent, never foreign, nothing pickled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.models import Arrays, EpochMetrics
from fullcircle.core.project import Training
from fullcircle.training import checkpoints
from fullcircle.training.checkpoints import FILE, Checkpoint

EPOCH = EpochMetrics(epoch=1, train_loss=0.7, validation_loss=0.69, validation_auc=0.6, seconds=0.1)
CHECKPOINT = Checkpoint(
    fingerprint="a" * 64,
    state={"model/w": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/0/step": np.array(3.0)},
    best={"model/w": np.ones((2, 3), dtype=np.float32)},
    history=(EPOCH,),
)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "new", CHECKPOINT)
    found = checkpoints.load(tmp_path / "new", CHECKPOINT.fingerprint)
    assert found is not None
    assert found.history == (EPOCH,)
    assert {name: v.tolist() for name, v in found.state.items()} == {n: v.tolist() for n, v in CHECKPOINT.state.items()}
    assert {name: v.tolist() for name, v in found.best.items()} == {n: v.tolist() for n, v in CHECKPOINT.best.items()}
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]


def test_one_of_another_fit_is_not_taken(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, CHECKPOINT)
    assert checkpoints.load(tmp_path, "b" * 64) is None
    assert checkpoints.load(tmp_path / "nowhere", "a" * 64) is None


@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_torn_one_is_not_taken(cut: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("torn")
    checkpoints.save(folder, CHECKPOINT)
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: int(cut * len(whole))])
    assert checkpoints.load(folder, CHECKPOINT.fingerprint) is None


def test_a_pickle_in_its_place_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, meta=np.array([{"fingerprint": "a" * 64}], dtype=object))
    assert checkpoints.load(tmp_path, "a" * 64) is None


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeUnwritable, match="cannot write the checkpoint"):
        checkpoints.save(tmp_path / "file", CHECKPOINT)


def test_the_fingerprint_changes_with_all_that_decides_the_weights() -> None:
    zeros = np.zeros((4, 2), dtype=np.float32)
    arrays = Arrays(x_train=zeros, y_train=zeros[:, 0], x_validation=zeros, y_validation=zeros[:, 0])
    base = ("torch", "Linear(2, 1)", Training(), arrays)
    others = [
        ("keras", *base[1:]),
        ("torch", "Linear(2, 2)", *base[2:]),
        ("torch", "Linear(2, 1)", Training(seed=14), arrays),
        (*base[:3], dataclasses.replace(arrays, y_train=np.ones(4, dtype=np.float32))),
    ]
    prints = [checkpoints.fingerprint(*each) for each in [base, *others]]
    assert len(set(prints)) == len(prints)
    assert checkpoints.fingerprint(*base) == prints[0]
