"""What a torch engine leaves in a checkpoint folder, and what it goes on from."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fullcircle.core.project import Compute, ModelFunction, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, StepResults, TrainEngine


class _Noisy(nn.Module):
    """Draws from every generator that a model may use."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (1 + 0.1 * random.gauss(0, 1) + 0.1 * np.random.normal())  # noqa: NPY002


def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    width = params.get("width", 8)
    layers = [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), _Noisy()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def chunk(steps: int, first: int) -> Chunk:
    draw = np.random.default_rng(first)
    x = draw.normal(size=(steps, 32, 6)).astype(np.float32)
    y = (x[..., 0] > 0).astype(np.float32)
    return Chunk(first, x, y, np.ones_like(y), np.full(steps, 32))


@contextlib.contextmanager
def engine(training: Training | None = None, function: ModelFunction = build, **compute: Any) -> Iterator[TrainEngine]:
    settings = Compute(device="cpu", **compute)
    with FRAMEWORK.process_group(settings) as process_group:
        yield FRAMEWORK.engine(function, (6,), training or Training(seed=3, clip_norm=0.5), settings, process_group)


def require_same(a: StepResults, b: StepResults) -> None:
    assert a.losses.tolist() == b.losses.tolist()
    assert a.norms.tolist() == b.norms.tolist()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_resumed_learner_goes_on_to_the_last_bit(tmp_path: Path, precision: Any) -> None:
    with engine(precision=precision) as straight:
        straight.steps(chunk(5, 1))
        pending = straight.save(tmp_path)
        expected = straight.steps(chunk(5, 6))  # while the checkpoint is being written
        pending.wait()
        assert pending.done()
        weights = straight.weights()
    with engine(precision=precision) as resumed:
        resumed.steps(chunk(2, 40))
        resumed.load(tmp_path)
        require_same(expected, resumed.steps(chunk(5, 6)))
        assert all(values.tobytes() == weights[name].tobytes() for name, values in resumed.weights().items())


def test_a_checkpoint_of_no_steps_at_all_is_the_beginning(tmp_path: Path) -> None:
    with engine() as straight:
        straight.save(tmp_path).wait()
        expected = straight.steps(chunk(4, 1))
    with engine() as resumed:
        resumed.steps(chunk(3, 9))
        resumed.load(tmp_path)
        require_same(expected, resumed.steps(chunk(4, 1)))


def test_saving_leaves_training_as_it_is(tmp_path: Path) -> None:
    with engine() as undisturbed:
        expected = undisturbed.steps(chunk(6, 1))
    with engine() as saved:
        whole = chunk(6, 1)
        losses = []
        for i in range(6):
            (tmp_path / str(i)).mkdir()
            saved.save(tmp_path / str(i)).wait()
            one = Chunk(i + 1, whole.x[i : i + 1], whole.y[i : i + 1], whole.w[i : i + 1], whole.counts[i : i + 1])
            losses += saved.steps(one).losses.tolist()
    assert expected.losses.tolist() == losses


def test_a_rank_without_saved_random_state_seeds_itself_from_seed_rank_and_step(tmp_path: Path) -> None:
    with engine() as first:
        first.steps(chunk(5, 1))
        first.save(tmp_path).wait()
        after = first.steps(chunk(2, 6))
    (tmp_path / "rng-0.npz").unlink()
    results = []
    for _ in range(2):
        with engine() as resumed:
            resumed.load(tmp_path)
            results.append(resumed.steps(chunk(2, 6)))
    require_same(*results)
    assert results[0].losses.tolist() != after.losses.tolist()


@pytest.mark.parametrize("extra", [{"width": 9}])
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, extra: dict[str, Any]) -> None:
    with engine() as first:
        first.save(tmp_path).wait()
    with (
        engine(Training(extra=extra)) as other,
        pytest.raises(ValueError, match=r"of another model: 0.bias has shape \(8,\) there and \(9,\) here"),
    ):
        other.load(tmp_path)


def test_a_checkpoint_has_no_pickle_beside_torchs_own_files(tmp_path: Path) -> None:
    with engine() as first:
        first.steps(chunk(1, 1))
        first.save(tmp_path).wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "__0_0.distcp",
        "learner.pt",
        "rng-0.npz",
        "tensors.json",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("__0_0.distcp", "../other.distcp", r"names the file '../other.distcp', which is not beside it"),
        ("float32", "load", r"tensors.json cannot be read \(ValueError: load is no type of number"),
        ('"tensors"', '"tables"', r"tensors.json cannot be read \(KeyError: 'tensors'"),
        ("[", "", r"tensors.json cannot be read \(JSONDecodeError"),
    ],
)
def test_a_table_of_contents_that_is_none_is_refused(tmp_path: Path, old: str, new: str, line: str) -> None:
    with engine() as first:
        first.save(tmp_path).wait()
        table = tmp_path / "tensors.json"
        table.write_text(table.read_text().replace(old, new))
        with pytest.raises(ValueError, match=line):
            first.load(tmp_path)


def test_a_learner_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    with engine() as first:
        first.save(tmp_path).wait()
        torch.save({"step": Evil()}, tmp_path / "learner.pt")
        with pytest.raises(ValueError, match=r"learner.pt cannot be read"):
            first.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_written_is_told_when_it_is_waited_for(tmp_path: Path) -> None:
    with engine() as first:
        folder = tmp_path / "gone"
        folder.mkdir()
        (folder / "rng-0.npz").mkdir()  # a folder where a file has to be
        pending = first.save(folder)
        with pytest.raises(OSError, match=r"rng-0.npz"):
            pending.wait()


def test_the_optimizers_learning_rate_and_slots_come_back(tmp_path: Path) -> None:
    def own(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        import lightning

        class Net(lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(inputs, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.linear(x)

            def configure_optimizers(self) -> Any:
                optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
                schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 7], gamma=0.1)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        return Net()

    with engine(function=own) as straight:
        straight.steps(chunk(5, 1))
        straight.save(tmp_path).wait()
        expected = straight.steps(chunk(5, 6))
    with engine(function=own) as resumed:
        resumed.load(tmp_path)
        require_same(expected, resumed.steps(chunk(5, 6)))
