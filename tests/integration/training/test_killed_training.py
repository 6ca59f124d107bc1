"""kill -9 in the middle of a fit: the next one goes on from the last checkpoint, to the very same model."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from fullcircle.core.settings import quiet_dependencies
quiet_dependencies()
from fullcircle.core.records.training import Arrays
from fullcircle.core.project import Training
from fullcircle.core.project import Binary
from fullcircle.training import trainers

framework, folder, kill_after = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(0)
x = random.normal(size=(1200, 5)).astype(np.float32)
y = (x[:, 0] + random.normal(size=1200) > 0.8).astype(np.float32)
rows = Arrays(x_train=x[:900], y_train=y[:900], x_validation=x[900:], y_validation=y[900:])

def build_torch(inputs, params):
    from torch import nn
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))

def build_keras(inputs, params):
    import keras
    from keras import layers
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(16, "relu"), layers.Dropout(0.3), layers.Dense(1)])

def on_epoch(metrics):
    if metrics.epoch == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)

build = build_torch if framework == "torch" else build_keras
params = Training(epochs=5, patience=5, batch_size=64)
task = Binary("late", positive="yes")
fitted = trainers.fit(framework, build, rows, params, task=task, folder=folder, on_epoch=on_epoch)
print(len(fitted.history), fitted.answers(rows.x_validation).tobytes().hex())
"""


def fit(framework: str, folder: Path, kill_after: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, framework, str(folder), str(kill_after)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_killed_fit_resumes_from_its_last_checkpoint(framework: str, tmp_path: Path) -> None:
    whole = fit(framework, tmp_path / "whole")
    killed = fit(framework, tmp_path / "killed", kill_after=3)
    assert killed.returncode == -signal.SIGKILL
    resumed = fit(framework, tmp_path / "killed")
    assert whole.returncode == resumed.returncode == 0, resumed.stderr[-2000:]
    assert whole.stdout == resumed.stdout
