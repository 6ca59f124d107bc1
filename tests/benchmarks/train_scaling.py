"""What a second process brings: `local:2` against `inline`, one thread each, on a compute-bound model.

    python tests/benchmarks/train_scaling.py [--rounds 3] [--json]

Interleaved; medians over the rounds. Beside it the honest comparison: one process with two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS, FEATURES, BATCH, DEPTH, WIDTH = 32_768, 70, 4096, 6, 768
MODEL = f"{DEPTH} dense layers of {WIDTH}, {FEATURES} features, batch {BATCH}, float32, {ROWS:,} rows"
PLACES = {"inline": ("inline", 1), "local:2": ("local:2", 1), "inline, 2 threads": ("inline", 2)}

PROJECT = '''
"""A compute-bound network for the benchmark: {about}."""
from fullcircle.core.project import *

def build_torch(inputs, params):
    from torch import nn
    layers = []
    for _ in range(params["depth"]):
        layers += [nn.Linear(inputs, params["width"]), nn.ReLU()]
        inputs = params["width"]
    return nn.Sequential(*layers, nn.Linear(inputs, 1))

def build_keras(inputs, params):
    import keras
    dense = [keras.layers.Dense(params["width"], activation="relu") for _ in range(params["depth"])]
    return keras.Sequential([keras.Input((inputs,)), *dense, keras.layers.Dense(1)])

project = Project(
    name="bench", owner="nobody@example.com", columns=(Number("a"),), target=Binary("y", positive="y"),
    time="t", row_id="id", torch=build_torch, keras=build_keras,
    training=Training(epochs=2, batch_size=4096, patience=2, class_weights=False,
                      extra=dict(depth={depth}, width={width})),
)
'''

SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
from fullcircle.core.project.loading import load_project
from fullcircle.core.project import Compute
from fullcircle.training.jobs import job_of
from fullcircle.training.training_loop.event_log import read_events
if __name__ == "__main__":
    from fullcircle.training.launch import launch
    root, framework, name, where, threads = Path(sys.argv[1]), *sys.argv[2:]
    project = load_project("bench", root)
    project = dataclasses.replace(project, compute=Compute(where=where, threads=int(threads)))
    job = job_of(project, framework=framework, data="d", arrays=root / "arrays", run_id="r", folder=root / name)
    use = launch(job).rank_stats
    rates = [entry["rate"] for entry in read_events(job.folder / "rank-0.events") if entry["kind"] == "steps"]
    first, peak = max(one.first_step_s for one in use), max(one.peak_mb for one in use)
    print(json.dumps(dict(rate=sorted(rates)[len(rates) // 2], first_step_s=first, peak_mb=peak)))
"""


def scaling(framework: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median samples a second, seconds to the first step and of the whole command, and memory, of each place."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "bench").mkdir()
        (root / "bench" / "project.py").write_text(PROJECT.format(about=MODEL, depth=DEPTH, width=WIDTH))
        (root / "train.py").write_text(SCRIPT)
        _write_arrays(root / "arrays")
        found: dict[str, list[dict[str, float]]] = {place: [] for place in PLACES}
        for index in range(rounds):
            for place, (where, threads) in PLACES.items():
                found[place].append(_train(framework, root, f"{index}-{len(place)}", where, threads))
                print(f"round {index + 1}: {framework}, {place}: {found[place][-1]}", file=sys.stderr, flush=True)
        return {
            place: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
            for place, runs in found.items()
        }


def _write_arrays(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS + 1024, FEATURES)).astype(np.float32)
    y = (x[:, :5].sum(axis=1) > 0).astype(np.float32)
    ids = np.arange(ROWS).astype(str)
    parts = {"x_train": x[:ROWS], "y_train": y[:ROWS], "x_validation": x[ROWS:], "y_validation": y[ROWS:]}
    for name, values in (parts | {"ids_train": ids}).items():
        np.save(folder / f"{name}.npy", values)
    (folder / "arrays.json").write_text(json.dumps({"digest": "benchmark"}))


def _train(framework: str, root: Path, name: str, where: str, threads: int) -> dict[str, float]:
    """One job in a process of its own: threads are settled when a framework is imported."""
    several = {"OMP_NUM_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}
    command = [sys.executable, str(root / "train.py"), str(root), framework, name, where, str(threads)]
    env = os.environ | several | {"CUDA_VISIBLE_DEVICES": ""}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{framework}, {where}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result | {"command_s": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {name: scaling(name, options.rounds) for name in ("torch", "keras")}
    if options.json:
        print(json.dumps(found))
        return
    print(f"{MODEL}.\n")
    print(
        "| framework, place | samples/s | against inline | first step, s | whole command, s | peak memory a rank, MB |"
    )
    print("|---|---|---|---|---|---|")
    for name, places in found.items():
        for place, one in places.items():
            cells = [f"{name}, {place}", f"{one['rate']:,.0f}", f"{one['rate'] / places['inline']['rate']:.2f}"]
            cells += [f"{one['first_step_s']:.1f}", f"{one['command_s']:.1f}", f"{one['peak_mb']:,.0f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
