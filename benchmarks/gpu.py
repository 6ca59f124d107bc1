"""The cases of gpu.sh: each in processes of its own, beside the same steps on one processor core."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fullcircle.core.project import Compute, Shape, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, ProcessGroup, TrainEngine

PARITY_STEPS, PARITY_ROWS = 20, 240  # 240: divided by 2, 3, 4, 5, 6, 8, 10 and 16 GPUs alike
SHAPES: Mapping[str, Shape] = {"table": (70,), "images": (32, 32, 3)}
MARK = "result of gpu.py: "


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to compute the same steps. `tolerance`: largest difference of a step's loss from the reference."""

    name: str
    device: str
    processes: int = 1
    precision: str = "float32"
    strategy: str = "ddp"
    compile: bool = False
    accumulate: int = 1
    # Convolutions on CUDA use TF32, with 10 bits of mantissa, so even float32 differs in the fourth digit.
    tolerance: float = 2e-3

    @property
    def compute(self) -> Compute:
        """The same as the platform takes it."""
        fields = {field.name for field in dataclasses.fields(self)} - {"name", "processes", "tolerance"}
        return Compute(**{name: getattr(self, name) for name in fields})


def cases(device: str, processes: int) -> list[Case]:
    """The reference first."""
    many = f"local:{processes}"
    half = {"tolerance": 5e-2}
    return [
        Case(name="reference: inline, cpu", device="cpu"),
        Case(name="inline", device=device),
        Case(name="inline, bfloat16", device=device, precision="bfloat16", **half),  # type: ignore[arg-type]
        Case(name="inline, float16", device=device, precision="float16", **half),  # type: ignore[arg-type]
        Case(name="inline, compile", device=device, compile=True),
        Case(name="inline, accumulate 4", device=device, accumulate=4),
        Case(name=f"{many}, ddp", device=device, processes=processes),
        Case(name=f"{many}, ddp, bfloat16", device=device, processes=processes, precision="bfloat16", **half),  # type: ignore[arg-type]
        Case(name=f"{many}, fsdp", device=device, processes=processes, strategy="fsdp"),
        Case(
            name=f"{many}, fsdp, float16",
            device=device,
            processes=processes,
            strategy="fsdp",
            precision="float16",
            **half,
        ),  # type: ignore[arg-type]
    ]


def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    """A perceptron for tables, a small convolutional net for images; no dropout: every case learns the same."""
    if isinstance(inputs, int):
        return nn.Sequential(nn.Linear(inputs, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1))
    first = [nn.Conv2d(inputs[0], 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, 1))


def share(first: int, steps: int, rows: int, shape: Shape, process_group: ProcessGroup) -> Chunk:
    """This rank's rows of some steps; `rows` of the whole batch is a multiple of the world's size."""
    random = np.random.default_rng(first)
    each = rows // process_group.size
    own = slice(process_group.rank * each, (process_group.rank + 1) * each)
    x = random.normal(size=(steps, rows, *shape)).astype(np.float32)
    y = (x.reshape(steps, rows, -1)[..., 0] > 0).astype(np.float32)
    w = np.ones((steps, each), dtype=np.float32)
    return Chunk(first, x[:, own], y[:, own], w, np.full(steps, rows))


def measure(case: Case, speed_steps: int) -> dict[str, Any]:
    """Losses of the same steps, and samples a second at a batch that fills a GPU."""
    found: dict[str, Any] = {}
    with FRAMEWORK.process_group(case.compute) as process_group:
        for name, shape in SHAPES.items():
            training = Training(seed=3, clip_norm=1.0, learning_rate=1e-3)
            engine = FRAMEWORK.engine(build, shape, training, case.compute, process_group)
            losses = process_group.sum_over_ranks(
                engine.steps(share(1, PARITY_STEPS, PARITY_ROWS, shape, process_group)).losses
            )
            rows = (8192 if name == "table" else 1024) if case.device == "cuda" else 64
            speed = _speed(engine, shape, process_group, rows, speed_steps)
            found[name] = {"losses": losses.tolist(), "samples_a_second": speed}
        found["rank"] = process_group.rank
        cuda = case.device == "cuda"
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
    return found


def _speed(engine: TrainEngine, shape: Shape, process_group: ProcessGroup, rows: int, steps: int) -> float:
    rows -= rows % process_group.size
    chunk = share(1000, 4, rows, shape, process_group)
    engine.steps(chunk)  # compilation and caches
    started = time.perf_counter()
    for _ in range(-(-steps // 4)):
        engine.steps(chunk)
    return float(-(-steps // 4) * 4 * rows / (time.perf_counter() - started))


def run(case: Case, speed_steps: int) -> dict[str, Any] | str:
    """Measure a case in processes of its own; what rank 0 found, or the last words of what failed."""
    program = [__file__, "--case", json.dumps(dataclasses.asdict(case)), "--steps", str(speed_steps)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.processes)]
    command = [sys.executable, *(launcher if case.processes > 1 else []), *program]
    done = subprocess.run(command, env={"OMP_NUM_THREADS": "1", **os.environ}, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if MARK in line]
    if done.returncode or not lines:
        words = [line for line in done.stderr.splitlines() if "Error: " in line] or ["it left no result"]
        return words[0].strip()
    found: dict[str, Any] = json.loads(lines[0].partition(MARK)[2])
    return found


def table(wanted: list[Case], speed_steps: int) -> int:
    """Run all cases and print a line of each; how many were not as they must be."""
    print(f"{'case':32} {'loss differs, table':>20} {'images':>10} {'samples/s, table':>18} {'images':>10} {'MB':>8}")
    reference: dict[str, Any] = {}
    bad = 0
    for case in wanted:
        found = run(case, speed_steps)
        if isinstance(found, str):
            bad += 1
            print(f"{case.name:32} FAILED: {found}")
            continue
        reference = reference or found
        apart = [float(np.abs(np.subtract(found[n]["losses"], reference[n]["losses"])).max()) for n in SHAPES]
        fits = max(apart) <= case.tolerance
        bad += not fits
        speed = [found[name]["samples_a_second"] for name in SHAPES]
        print(
            f"{case.name:32} {apart[0]:20.1e} {apart[1]:10.1e} {speed[0]:18,.0f} {speed[1]:10,.0f} "
            f"{found['peak_mb']:8,.0f}{'' if fits else f'   DIFFERS by more than {case.tolerance:g}'}",
            flush=True,
        )
    return bad


def main() -> int:
    """One case as a rank, or the whole table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--processes", type=int, default=0, help="0: one a GPU, or 2 on a CPU")
    parser.add_argument("--steps", type=int, default=200, help="steps of the measurement of speed")
    parser.add_argument("--only", default="", help="cases with this word in their name, and the reference")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        found = measure(Case(**json.loads(given.case)), given.steps)
        if found["rank"] == 0:
            print(MARK + json.dumps(found), flush=True)
        return 0
    gpus = torch.cuda.device_count()
    if given.device == "cuda" and not gpus:
        print(
            f"no GPU: torch {torch.__version__} finds none here; --device cpu tries the script itself", file=sys.stderr
        )
        return 2
    print(
        f"torch {torch.__version__}, {f'{gpus} x {torch.cuda.get_device_name(0)}' if given.device == 'cuda' else 'cpu'}"
    )
    first, *others = cases(given.device, given.processes or (gpus if given.device == "cuda" else 2))
    wanted = [first, *(case for case in others if given.only in case.name)]
    return 1 if table(wanted, given.steps) else 0


if __name__ == "__main__":
    sys.exit(main())
