"""Checkpoints: whole or absent, never foreign, the one before stays, nothing pickled."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import HomeUnwritable, UsageError
from fullcircle.core.project import Compute, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.checkpoints.checkpoint_store import (
    LATEST,
    MANIFEST,
    CheckpointKey,
    Checkpoints,
    checkpoint_key,
)
from fullcircle.training.training_loop.train_state import TrainState

MARK = CheckpointKey(project="pumps", framework="torch", data="d" * 64, parameters="p" * 64)
BEST = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}


def checkpoints(folder: Path, *, storage: str | None = None, mark: CheckpointKey = MARK, keep: int = 2) -> Checkpoints:
    return Checkpoints(storage or str(folder / "kept"), mark, staging=folder / "staging", keep=keep)


def write(kept: Checkpoints, step: int, *, content: bytes = b"weights") -> None:
    kept.begin(step)
    (kept.part(step) / "shards").mkdir()
    (kept.part(step) / "shards" / "rank-0").write_bytes(content * step)
    kept.commit(step, {"note": step}, BEST)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    write(kept, 7)
    found, warnings = checkpoints(tmp_path).find()
    assert found is not None
    assert (found.step, found.meta["note"], warnings) == (7, 7, [])
    assert (found.folder / "shards" / "rank-0").read_bytes() == b"weights" * 7
    assert found.best["w"].tolist() == BEST["w"].tolist()
    assert (tmp_path / "kept" / LATEST).read_text() == "step-0000000007"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        write(kept, step)
    assert names(tmp_path / "kept") == [LATEST, "step-0000000003", "step-0000000004"]


def test_one_that_was_never_committed_is_not_seen(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    write(kept, 1)
    kept.begin(2)
    (kept.part(2) / "half").write_bytes(b"x")
    found, warnings = kept.find()
    assert found is not None
    assert (found.step, warnings) == (1, [])


def test_a_kill_between_the_rename_and_latest_leaves_the_one_before(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path, keep=3)
    write(kept, 1)
    write(kept, 2)
    (tmp_path / "kept" / LATEST).write_text("step-0000000001")  # as it was before the second was named
    found, _ = kept.find()
    assert found is not None
    assert found.step == 1
    write(kept, 2)  # the training loop comes by again
    found, _ = kept.find()
    assert found is not None
    assert found.step == 2


@given(data=st.data())
def test_a_flipped_or_lost_byte_anywhere_falls_back_by_one_and_says_which_file(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    kept = checkpoints(folder)
    write(kept, 1)
    write(kept, 2)
    newest = folder / "kept" / "step-0000000002"
    path = data.draw(st.sampled_from(sorted(p for p in newest.rglob("*") if p.is_file() and p.name != MANIFEST)))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    path.write_bytes(content)
    found, warnings = kept.find()
    assert found is not None
    assert found.step == 1
    assert len(warnings) == 1
    assert str(path.relative_to(newest)) in warnings[0]


@pytest.mark.parametrize("damage", ["", "{", "[]", None])
def test_without_its_manifest_it_is_none(tmp_path: Path, damage: str | None) -> None:
    kept = checkpoints(tmp_path)
    write(kept, 1)
    write(kept, 2)
    manifest = tmp_path / "kept" / "step-0000000002" / MANIFEST
    if damage is None:
        manifest.unlink()
    else:
        manifest.write_text(damage)
    found, warnings = kept.find()
    assert found is not None
    assert found.step == 1
    assert "its manifest cannot be read" in warnings[0]


def test_nothing_whole_is_nothing(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    assert kept.find() == (None, [])
    write(kept, 1)
    shutil.rmtree(tmp_path / "kept" / "step-0000000001" / "shards")
    found, warnings = kept.find()
    assert found is None
    assert len(warnings) == 1


def test_one_of_another_project_or_framework_is_refused_by_name(tmp_path: Path) -> None:
    write(checkpoints(tmp_path), 3)
    other = CheckpointKey(project="valves", framework="keras", data=MARK.data, parameters=MARK.parameters)
    with pytest.raises(UsageError, match="project 'pumps' instead of 'valves', framework 'torch' instead of 'keras'"):
        checkpoints(tmp_path, mark=other).find()


def test_a_pickle_in_its_place_is_not_opened(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.begin(1)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        kept.commit(1, {}, {"w": np.array([{}], dtype=object)})


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    write(kept, 1)
    shutil.rmtree(kept.folder / "step-0000000002", ignore_errors=True)
    (kept.folder / ".step-0000000002.part").write_text("a file in the way")
    with pytest.raises(HomeUnwritable, match=r"cannot write a checkpoint .*; the checkpoint of step 1 is intact"):
        kept.begin(2)
    found, _ = kept.find()
    assert found is not None
    assert found.step == 1


def test_an_object_store_keeps_them_too(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    kept = checkpoints(tmp_path, storage=url, keep=1)
    write(kept, 1)
    write(kept, 2)
    elsewhere = checkpoints(tmp_path / "another machine", storage=url)
    found, warnings = elsewhere.find()
    assert found is not None
    assert (found.step, warnings) == (2, [])
    assert (found.folder / "shards" / "rank-0").read_bytes() == b"weights" * 2
    assert names(tmp_path / "another machine" / "staging") == [LATEST, "step-0000000002"]


def test_the_mark_changes_with_all_that_decides_the_weights_and_nothing_else() -> None:
    def mark(**changes: Any) -> CheckpointKey:
        given: dict[str, Any] = {
            "project": "pumps",
            "framework": "torch",
            "data": "d",
            "architecture": "Linear(2, 1)",
            "training": Training(),
            "compute": Compute(),
        }
        return checkpoint_key(**{**given, **changes})

    others = [
        mark(framework="keras"),
        mark(data="e"),
        mark(architecture="Linear(2, 2)"),
        mark(training=Training(seed=14)),
        mark(compute=Compute(precision="bfloat16")),
    ]
    assert len({json.dumps(vars(each)) for each in [mark(), *others]}) == 6
    assert mark(compute=Compute(where="local:2", keep=5), training=Training(epochs=99)) == mark()
    assert mark(architecture="f at 0x7f01") == mark(architecture="f at 0x7f02")


def test_an_epoch_that_a_version_of_before_wrote_is_read() -> None:
    written = {"epoch": 1, "train_loss": 0.4, "validation_loss": 0.5, "validation_auc": 0.7, "seconds": 1.0}
    meta = {"step": 3, "position": 0, "loss": 0.0, "seconds": 0.0, "total_s": 1.0, "history": [written]}
    (epoch,) = TrainState.from_meta(meta, {}).history
    assert epoch.validation == {"roc_auc": 0.7}
    assert epoch.logged == {"train_loss": 0.4, "validation_loss": 0.5, "validation_auc": 0.7}
    (again,) = TrainState.from_meta({**meta, "history": [dataclasses.asdict(epoch)]}, {}).history
    assert again == epoch


def test_the_loss_of_every_version_before_leaves_the_key_as_it_was_and_another_changes_it() -> None:
    given: tuple[Any, ...] = ("p", "torch", "d", "layers", Training(), Compute())
    squared = Objective(loss="squared")
    assert checkpoint_key(*given) == checkpoint_key(*given, Objective(loss="binary_cross_entropy"))
    assert checkpoint_key(*given) != checkpoint_key(*given, squared)
    assert checkpoint_key(*given, squared) != checkpoint_key(*given, squared, "expm1")
