"""Models of Lightning and Hugging Face: what of them is used, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.project.loading import load_project
from fullcircle.core.tasks import Link
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, TrainEngine

CPU = Compute(device="cpu")
PLAIN = Training(seed=3, class_weights=False)


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class SquaredError(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        features, targets = batch
        assert targets.shape == (len(features), 1)
        return {"loss": ((self(features) - targets) ** 2).mean()}


def chunk(steps: int, first: int = 1, shape: Shape = (6,), rows: int = 32) -> Chunk:
    random = np.random.default_rng(first)
    x = random.normal(size=(steps, rows, *shape)).astype(np.float32)
    y = (x.reshape(steps, rows, -1)[..., 0] > 0).astype(np.float32)
    return Chunk(first, x, y, np.ones_like(y), np.full(steps, rows))


def made(model: type[nn.Module], training: Training = PLAIN, compute: Compute = CPU) -> TrainEngine:
    def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        return model()

    FRAMEWORK.check(build, (6,), training, compute)
    with FRAMEWORK.process_group(compute) as process_group:
        return FRAMEWORK.engine(build, (6,), training, compute, process_group)


def vision(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    channels, height, _ = inputs
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return ViTForImageClassification(
        ViTConfig(image_size=height, patch_size=4, num_channels=channels, num_labels=1, **small)
    )


def words(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(
        BertConfig(vocab_size=5, num_labels=1, max_position_embeddings=inputs, **small)
    )


def project_model(name: str) -> ModelFunction:
    found = load_project(name, Path(__file__).parents[2] / "projects").torch
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("build", "shape", "training"),
    [
        (
            project_model("lightning_net"),
            (6,),
            Training(seed=3, class_weights=False, extra={"dropout": 0.1, "peak_rate": 0.05}),
        ),
        (project_model("tiny_transformer"), (6,), Training(seed=3, learning_rate=5e-3, extra={"width": 16})),
        (vision, (8, 8, 1), Training(seed=3, learning_rate=5e-3)),
    ],
    ids=["lightning", "transformer", "vision transformer"],
)
def test_it_learns_resumes_and_exports(build: ModelFunction, shape: Shape, training: Training, tmp_path: Path) -> None:
    FRAMEWORK.check(build, shape, training, CPU)
    with FRAMEWORK.process_group(CPU) as process_group:
        engine = FRAMEWORK.engine(build, shape, training, CPU, process_group)
        first = engine.steps(chunk(30, 1, shape))
        engine.save(tmp_path).wait()
        later = engine.steps(chunk(10, 31, shape))
        resumed = FRAMEWORK.engine(build, shape, training, CPU, process_group)
        resumed.load(tmp_path)
        assert later.losses.tolist() == resumed.steps(chunk(10, 31, shape)).losses.tolist()
    assert later.losses.mean() < first.losses[:5].mean()
    fitted = FRAMEWORK.fitted(
        build,
        shape,
        training,
        weights=engine.weights(),
        link=Link(name="sigmoid", offset=(-0.3,)),
        history=(),
        best_epoch=1,
    )
    fitted.save_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for rows in (1, 2, 7):
        x = chunk(1, 99, shape).x[0, :rows]
        (answer,) = session.run(["answers"], {"features": x})
        assert answer.shape == (rows, 1)
        np.testing.assert_allclose(fitted.answers(x), answer[:, 0], atol=1e-6)
        logit = engine.outputs(x)[:, 0] - 0.3
        np.testing.assert_allclose(1 / (1 + np.exp(-logit)), answer[:, 0], atol=1e-6)


def test_a_model_whose_main_input_is_token_numbers_gets_whole_numbers() -> None:
    FRAMEWORK.check(words, (4,), PLAIN, CPU)
    with FRAMEWORK.process_group(CPU) as process_group:
        engine = FRAMEWORK.engine(words, (4,), PLAIN, CPU, process_group)
        tokens = np.array([[0, 1, 2, 4], [1, 1, 1, 1]], dtype=np.float32)
        first, second = engine.outputs(tokens)
        assert first != second


def test_a_training_step_of_the_models_own_is_its_loss_and_fillers_have_no_part_in_it() -> None:
    data = chunk(3)
    engine = made(SquaredError)
    weights = engine.weights()
    filled = Chunk(
        1,
        np.concatenate([data.x, data.x[:, :2]], axis=1),
        np.concatenate([data.y, data.y[:, :2]], axis=1),
        np.concatenate([data.w, np.zeros((3, 2), dtype=np.float32)], axis=1),
        data.counts,
    )
    expected = np.mean((data.x[0] @ weights["linear.weight"][0] + weights["linear.bias"] - data.y[0]) ** 2)
    losses = engine.steps(filled).losses
    assert losses[0] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(losses, made(SquaredError).steps(data).losses, atol=1e-6)


def test_a_share_of_fillers_alone_learns_nothing() -> None:
    data = chunk(1)
    engine = made(SquaredError)
    results = engine.steps(Chunk(1, data.x, data.y, np.zeros_like(data.w), data.counts))
    assert results.losses.tolist() == [0.0] and results.norms.tolist() == [0.0]


def test_a_loss_of_the_models_own_is_added_up_over_parts_of_a_batch() -> None:
    data = chunk(4, rows=33)
    np.testing.assert_allclose(
        made(SquaredError).steps(data).losses,
        made(SquaredError, compute=Compute(device="cpu", accumulate=4)).steps(data).losses,
        atol=1e-6,
    )


def test_without_methods_of_its_own_it_is_trained_like_any_model() -> None:
    data = chunk(5)

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    assert made(Net).steps(data).losses.tolist() == made(Same).steps(data).losses.tolist()


def test_the_scheduler_is_stepped_after_each_step() -> None:
    class Stopping(Net):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 3 else 0.0)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    engine = made(Stopping)
    engine.steps(chunk(2))
    before = engine.weights()["linear.weight"]
    engine.steps(chunk(1, 3))
    after = engine.weights()["linear.weight"]
    engine.steps(chunk(5, 4))
    assert before.tolist() != after.tolist()
    assert after.tolist() == engine.weights()["linear.weight"].tolist()


class _EachEpoch(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


class _TwoOptimizers(Net):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1), torch.optim.SGD(self.parameters(), lr=0.2)]


class _NeedsATrainer(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1 / self.trainer.estimated_stepping_batches)


class _NoLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class _LossPerRow(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self(batch[0]) - batch[1]) ** 2


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (_EachEpoch, r"stepped after each step, got StepLR with interval 'epoch' and frequency 1; give"),
        (_TwoOptimizers, r"configure_optimizers must give one torch optimizer, got \[SGD"),
        (_NeedsATrainer, r"configure_optimizers failed \(RuntimeError: .*not attached to a `Trainer`"),
        (_NoLoss, r"training_step must give a tensor or a mapping with 'loss', got None"),
        (_LossPerRow, r"training_step must give a loss of no dimensions, got \(2, 1\)"),
    ],
)
def test_what_a_course_of_steps_cannot_use_is_refused_before_training(model: type[nn.Module], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        made(model)


def test_class_weights_that_a_loss_of_its_own_would_not_see_are_refused() -> None:
    with pytest.raises(UsageError, match=r"knows no class weights; set Training\(class_weights=False\)"):
        made(SquaredError, Training(class_weights=True))


def test_neither_library_is_imported_for_a_plain_model() -> None:
    program = """
import sys
from torch import nn
from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
FRAMEWORK.check(lambda inputs, params: nn.Linear(inputs, 1), (6,), Training(), Compute(device="cpu"))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"lightning", "pytorch_lightning", "transformers"}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
