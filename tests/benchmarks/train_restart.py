"""How long a killed rank costs: from kill -9 of one rank of `local:2` to the next step that was not done before.

python tests/benchmarks/train_restart.py [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fullcircle.training.training_loop.event_log import read_events

ROWS, FEATURES = 32_768, 20
PROJECT = '''
"""A small network with dropout, trained for as long as it takes."""
from fullcircle.core.project import *

def build_torch(inputs, params):
    from torch import nn
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 1))

def build_keras(inputs, params):
    import keras
    from keras import layers
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(256, "relu"), layers.Dropout(0.2), layers.Dense(1)])

project = Project(
    name="bench", owner="nobody@example.com", columns=(Number("a"),), target=Binary("y", positive="y"),
    time="t", row_id="id", torch=build_torch, keras=build_keras,
    training=Training(epochs=10_000, batch_size=512, patience=10_000, class_weights=False),
    compute=Compute(where="local:2", checkpoint_every_steps=200, checkpoint_every_s=None),
)
'''
SCRIPT = """
import sys
from pathlib import Path
from fullcircle.core.project.loading import load_project
from fullcircle.training.jobs import job_of
if __name__ == "__main__":
    from fullcircle.training.launch import launch
    root, framework = Path(sys.argv[1]), sys.argv[2]
    project = load_project("bench", root)
    launch(job_of(project, framework=framework, data="d", arrays=root / "arrays", run_id="r", folder=root / framework))
"""


def restart(framework: str) -> dict[str, float]:
    """Seconds from the launch to the first step, and from a kill to the next new one."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "bench").mkdir()
        (root / "bench" / "project.py").write_text(PROJECT)
        (root / "train.py").write_text(SCRIPT)
        _write_arrays(root / "arrays")
        env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        started = time.monotonic()
        command = [sys.executable, str(root / "train.py"), str(root), framework]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                journal = root / framework / "rank-0.events"
                _wait_for(journal, 1, process)
                first = time.monotonic() - started
                _wait_for(journal, 1000, process)
                rank = json.loads((root / framework / "rank-1.process.json").read_text())
                before = _last(journal)
                os.kill(rank["pid"], signal.SIGKILL)
                killed = time.monotonic()
                _wait_for(journal, before + 200, process)
                return {"first_step_s": first, "restart_s": time.monotonic() - killed}
            finally:
                process.terminate()  # the ranks write a checkpoint and end


def _write_arrays(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS + 1024, FEATURES)).astype(np.float32)
    y = (x[:, :5].sum(axis=1) > 0).astype(np.float32)
    parts = {"x_train": x[:ROWS], "y_train": y[:ROWS], "x_validation": x[ROWS:], "y_validation": y[ROWS:]}
    for name, values in (parts | {"ids_train": np.arange(ROWS).astype(str)}).items():
        np.save(folder / f"{name}.npy", values)
    (folder / "arrays.json").write_text(json.dumps({"digest": "benchmark"}))


def _wait_for(journal: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while _last(journal) < step:
        if process.poll() is not None:
            raise SystemExit(f"the training ended with {process.returncode} before step {step}")
        time.sleep(0.02)


def _last(journal: Path) -> int:
    """The last step of the journal."""
    steps = [entry for entry in read_events(journal) if entry["kind"] == "steps"]
    return int(steps[-1]["first"]) + len(steps[-1]["losses"]) - 1 if steps else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = {name: [restart(name) for _ in range(options.rounds)] for name in ("torch", "keras")}
    found = {name: {key: [run[key] for run in each] for key in each[0]} for name, each in runs.items()}
    if options.json:
        print(json.dumps(found))
        return
    print("| local:2 | launch to first step, s | kill -9 of a rank to the next new step, s | longest | asked for |")
    print("|---|---|---|---|---|")
    for name, one in found.items():
        first, again = statistics.median(one["first_step_s"]), statistics.median(one["restart_s"])
        print(f"| {name} | {first:.1f} | {again:.1f} | {max(one['restart_s']):.1f} | under 10 |")


if __name__ == "__main__":
    main()
