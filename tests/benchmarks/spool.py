"""What tracking costs: the training loop beside itself untracked, and points a second through one MLflow server.

    python tests/benchmarks/spool.py [--rounds 15] [--steps 1500] [--points 60000] [--json]

The loop: a small network in torch and one in Keras, 20 metrics a step, told to a run whose tracker is a server on
SQLite on this machine. Tracked and untracked take turns, so that whatever else the machine does meets both; the figure
is the ratio of their medians. Only the loop is timed, as a training would see it. All threads of this process, the
sender's too, share one core with the training; the server, which as a rule has a machine of its own, has another core.
The ratio of processor time is told beside it: other load on the machine moves it less.

The points: so many at once, from the first call until the server has the last one, and beside it a plain loop of
`mlflow.log_metric` through the same server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np  # noqa: E402 - the numbers of threads come first

from fullcircle.core.processes import Service, free_port  # noqa: E402
from fullcircle.core.project import Binary, Number, Project  # noqa: E402
from fullcircle.core.settings import Settings, quiet_dependencies  # noqa: E402
from fullcircle.tracking.runs import Tracker  # noqa: E402

quiet_dependencies()

METRICS, BATCH, FEATURES, HIDDEN = 20, 1024, 70, (128, 64)
WANTED_RATIO, WANTED_POINTS = 0.98, 3000.0
Tell = Callable[[Mapping[str, float], int], None]
Step = Callable[[], float]


def torch_step() -> Step:
    """One step of the flights' network on a fixed batch; returns the loss."""
    import torch

    torch.manual_seed(0)
    widths = (FEATURES, *HIDDEN)
    layers: list[Any] = []
    for before, after in zip(widths, HIDDEN, strict=False):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN[-1], 1))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(BATCH, FEATURES), torch.randint(0, 2, (BATCH, 1)).float()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def keras_step() -> Step:
    """The same in Keras, as `train_on_batch`."""
    import keras

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, activation="relu") for width in HIDDEN]
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, FEATURES)).astype(np.float32)
    y = random.integers(0, 2, size=(BATCH, 1)).astype(np.float32)
    return lambda: float(model.train_on_batch(x, y))


def seconds(step: Step, steps: int, tell: Tell | None) -> tuple[float, float]:
    """(seconds, seconds of processor time of all threads) of a loop of so many steps, each telling 20 metrics."""
    began, worked = time.perf_counter(), time.process_time()
    for number in range(1, steps + 1):
        loss = step()
        values = {f"metric_{each:02}": loss + each for each in range(METRICS)}  # untracked loops compute them, too
        if tell is not None:
            tell(values, number)
    return time.perf_counter() - began, time.process_time() - worked


def overhead(tracker: Tracker, project: Project, step: Step, rounds: int, steps: int) -> dict[str, float]:
    """Medians of the tracked and the untracked loop, and their ratio: 1 is free."""
    seconds(step, min(steps, 200), None)  # compiled and warm
    tracked: list[tuple[float, float]] = []
    untracked: list[tuple[float, float]] = []
    for number in range(rounds):
        for kind in ("untracked", "tracked") if number % 2 else ("tracked", "untracked"):
            if kind == "untracked":
                untracked.append(seconds(step, steps, None))
                continue
            with tracker.start(project, name="loop", kind="benchmark") as run:
                run.flush()  # what a run does once, at its beginning, is not what a step costs
                tracked.append(seconds(step, steps, run.points))
    without_s, without_cpu_s = (statistics.median(each) for each in zip(*untracked, strict=True))
    with_s, with_cpu_s = (statistics.median(each) for each in zip(*tracked, strict=True))
    return {
        "steps_per_second_untracked": steps / without_s,
        "steps_per_second_tracked": steps / with_s,
        "ratio": without_s / with_s,
        "ratio_of_processor_time": without_cpu_s / with_cpu_s,
    }


def sustained(tracker: Tracker, project: Project, points: int) -> float:
    """Points a second, from the first call until the server has the last one."""
    with tracker.start(project, name="points", kind="benchmark") as run:
        run.flush()
        began = time.perf_counter()
        for step in range(points // METRICS):
            run.points({f"metric_{each:02}": step / (each + 1) for each in range(METRICS)}, step)
        assert run.flush(), "the server went away"
        return points / (time.perf_counter() - began)


def plain(settings: Settings, tracker: Tracker, project: Project, points: int) -> float:
    """Points a second of a loop of `mlflow.log_metric`."""
    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri)
    with mlflow.start_run(experiment_id=tracker.experiment_id(project)):
        began = time.perf_counter()
        for step in range(points):
            mlflow.log_metric("metric", step / 2, step=step)
        return points / (time.perf_counter() - began)


def server(folder: Path, port: int) -> Service:
    """One MLflow server on SQLite."""
    own = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "server")})
    Tracker(own).prepare()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return Service(
        name="MLflow",
        command=[
            *command,
            *("--backend-store-uri", own.tracking_uri),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        ready_url=f"http://127.0.0.1:{port}/health",
        log=folder / "mlflow.log",
    )


def main() -> int:
    """Run it all; 1 when a figure is not what we promise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        settings = Settings.from_env(
            {"FULLCIRCLE_HOME": str(folder / "home"), "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        )
        project = Project(
            name="benchmark",
            owner="benchmark",
            columns=(Number("x"),),
            target=Binary("y", positive="p"),
            time="t",
            row_id="i",
            torch=lambda inputs, params: None,
            folder=folder,
        )
        cores = sorted(os.sched_getaffinity(0))
        with server(folder, port) as started:
            if len(cores) > 1:
                _pin(started.pid, set(cores[1:]))
                os.sched_setaffinity(0, cores[:1])
            tracker = Tracker(settings)
            found: dict[str, Any] = {
                "torch": overhead(tracker, project, torch_step(), asked.rounds, asked.steps),
                "keras": overhead(tracker, project, keras_step(), asked.rounds, asked.steps),
                # Last: in its first half minute the server is busy starting its helper processes.
                "points_per_second_log_metric": plain(settings, tracker, project, max(200, asked.points // 200)),
                "points_per_second": sustained(tracker, project, asked.points),
            }
    print(json.dumps(found, indent=2) if asked.json else _text(found))
    good = all(found[name]["ratio"] >= WANTED_RATIO for name in ("torch", "keras"))
    return 0 if good and found["points_per_second"] >= WANTED_POINTS else 1


def _pin(leader: int | None, cores: set[int]) -> None:
    """Give all processes of the server's group these cores, and with them those that they will start."""
    for path in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(path.parts[2])) == leader:
                os.sched_setaffinity(int(path.name), cores)


def _text(found: dict[str, Any]) -> str:
    lines = [
        f"{name:<6} {found[name]['steps_per_second_untracked']:8.1f} steps/s untracked, "
        f"{found[name]['steps_per_second_tracked']:8.1f} tracked at {METRICS} metrics a step: "
        f"{found[name]['ratio']:.1%} (at least {WANTED_RATIO:.0%}), of processor time "
        f"{found[name]['ratio_of_processor_time']:.1%}"
        for name in ("torch", "keras")
    ]
    lines.append(
        f"one server on SQLite: {found['points_per_second']:,.0f} points/s (at least {WANTED_POINTS:,.0f}); a loop of "
        f"mlflow.log_metric: {found['points_per_second_log_metric']:,.0f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
