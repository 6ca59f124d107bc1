"""One rank of small torch trainings, one after the other, as a program: each learns, saves, goes on, and leaves a file.

python torch_rank.py FOLDER '[{"name": "copies", "strategy": "ddp"}, ...]'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, StepResults, TrainEngine

FEATURES, ROWS, STEPS = 6, 33, 6
IMAGE = (5, 4, 3)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a rank is to do.

    Attributes:
        name: of its folder, `FOLDER/<name>`.
        load: checkpoint folder to go on from, or nothing. first: number of the first step.
        poisoned: row of the whole batch whose first feature is no number.
    """

    name: str
    strategy: str = "ddp"
    model: str = "plain"
    load: str = ""
    first: int = 1
    accumulate: int = 1
    precision: str = "float32"
    poisoned: int = -1


class Unused(nn.Module):
    """A model with a parameter that has no part in its answer."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(inputs, 1), nn.Linear(inputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.used(x)
        return answer


def lightning_net(inputs: int) -> Any:
    """A LightningModule with a loss of its own."""
    import lightning

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.layers(x)
            return answer

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return ((self(batch[0]) - batch[1]) ** 2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    return Net()


def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    """The model that `params["model"]` names."""
    kind = params["model"]
    if kind == "unused":
        return Unused(inputs)
    if kind == "images":
        convolution = [nn.Conv2d(inputs[0], 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        return nn.Sequential(*convolution, nn.Linear(16, 1))
    if kind == "lightning":
        made: nn.Module = lightning_net(inputs)
        return made
    layers: list[nn.Module] = [nn.Linear(inputs, 16), nn.ReLU(), nn.ModuleList([nn.Linear(16, 16)])[0], nn.Tanh()]
    if kind == "dropout":
        layers.append(nn.Dropout(0.3))
    if kind == "normalised":
        layers.append(nn.BatchNorm1d(16))
    return nn.Sequential(*layers, nn.Linear(16, 1))


def share(first: int, shape: tuple[int, ...], rank: int, size: int, poisoned: int) -> Chunk:
    """A rank's share of the batches from step `first` on, filled up to equal length with rows of weight 0."""
    random = np.random.default_rng(first)
    x = random.normal(size=(STEPS, ROWS, *shape)).astype(np.float32)
    y = (x.reshape(STEPS, ROWS, -1)[..., 0] > 0).astype(np.float32)
    w = np.ones_like(y)
    if poisoned >= 0:
        x[:, poisoned, 0] = np.nan
    each = -(-ROWS // size)
    filler = each * size - ROWS
    rows = np.concatenate([np.arange(ROWS), np.zeros(filler, dtype=np.int64)])[rank * each : (rank + 1) * each]
    weights = np.concatenate([w, np.zeros((STEPS, filler), dtype=np.float32)], axis=1)
    return Chunk(
        first, x[:, rows], y[:, rows], weights[:, rank * each : (rank + 1) * each], np.full(STEPS, ROWS, dtype=np.int64)
    )


def result(process_group: Any, engine: TrainEngine, results: StepResults, prefix: str) -> dict[str, Any]:
    """What the steps came to, over all ranks, and the weights after them."""
    losses = process_group.sum_over_ranks(results.losses)
    weights = {f"{prefix}/weights/{name}": values for name, values in engine.weights().items()}
    waited = {f"{prefix}/waited_s": results.communication_s}
    return {f"{prefix}/losses": losses, f"{prefix}/norms": results.norms} | weights | waited


def carry_out(plan: Plan, process_group: Any, folder: Path) -> dict[str, Any]:
    """Six steps, a checkpoint, six more; or a diagnosis of the first step."""
    compute = Compute(
        device="cpu",
        strategy=plan.strategy,  # type: ignore[arg-type]
        accumulate=plan.accumulate,
        precision=plan.precision,  # type: ignore[arg-type]
    )
    training = Training(seed=3, clip_norm=0.5, class_weights=False, extra={"model": plan.model})
    shape = IMAGE if plan.model == "images" else (FEATURES,)
    engine = FRAMEWORK.engine(build, shape, training, compute, process_group)
    if plan.load:
        engine.load(Path(plan.load))
    chunk, following = (
        share(first, shape, process_group.rank, process_group.size, plan.poisoned)
        for first in (plan.first, plan.first + STEPS)
    )
    if plan.poisoned >= 0:
        one = Chunk(plan.first, chunk.x[:1], chunk.y[:1], chunk.w[:1], chunk.counts[:1])
        return {"diagnosis": repr(engine.diagnose(one))}
    content = {"architecture": engine.architecture, **result(process_group, engine, engine.steps(chunk), "first")}
    pending = engine.save(folder / "checkpoint")
    content |= result(process_group, engine, engine.steps(following), "second")
    pending.wait()
    # Ranks have unequal numbers of rows to answer, as the slices of a validation set may be.
    content["logits"] = engine.outputs(np.ones((3 + process_group.rank, *shape), dtype=np.float32))
    return content


def main(root: Path, plans: list[Plan]) -> None:
    """Carry out all plans in one process group."""
    with FRAMEWORK.process_group(Compute(device="cpu")) as process_group:
        for plan in plans:
            content = carry_out(plan, process_group, root / plan.name)
            np.savez(root / plan.name / f"rank-{process_group.rank}.npz", **content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Plan(**plan) for plan in json.loads(sys.argv[2])])
