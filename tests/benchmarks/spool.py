"""What tracking costs: the training loop beside itself untracked, and points a second through one MLflow server.

    python tests/benchmarks/spool.py [--rounds 800] [--steps 25] [--points 60000] [--json]

The loop: a small network in torch and one in Keras, 20 metrics a step, told to a run whose tracker is a server on
SQLite on this machine. Short tracked and untracked loops take turns, so that whatever else the machine does meets both,
while the run's threads write and send; with turns four times as long the interval is twice as wide. What the threads
take is counted where it is known, as processor time of a thread, and is put on the tracked loops in full; for all
threads of this process share one core with the training. The server, which as a rule has a machine of its own, has
another core. The figure is the ratio of medians; its interval is of the rounds.

The points: so many at once, from the first call until the server has the last one, and beside it a plain loop of
`mlflow.log_metric` through the same server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np  # noqa: E402 - the numbers of threads come first

from fullcircle.core.project import Binary, Number, Project  # noqa: E402
from fullcircle.core.settings import Settings, quiet_dependencies  # noqa: E402
from fullcircle.core.system.processes import Service, free_port  # noqa: E402
from fullcircle.tracking.runs.run_store import RunStore  # noqa: E402

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


def seconds(step: Step, steps: int, tell: Tell | None, first: int = 1) -> float:
    """How long so many steps take, each telling 20 metrics."""
    began = time.perf_counter()
    for number in range(first, first + steps):
        loss = step()
        values = {f"metric_{each:02}": loss + each for each in range(METRICS)}  # untracked loops compute them, too
        if tell is not None:
            tell(values, number)
    return time.perf_counter() - began


def overhead(tracker: RunStore, project: Project, step: Step, rounds: int, steps: int) -> dict[str, float]:
    """Medians of the tracked and the untracked loop, and their ratio: 1 is free."""
    seconds(step, 200, None)  # compiled and warm
    account = accounts(tracker, project, step)
    behind = steps * 1e-6 * sum(account[f"{part}_us"] for part in ("writing", "sending", "load"))
    took: dict[str, list[float]] = {"untracked": [], "tracked": []}
    with tracker.start(project, name="loop", kind="benchmark") as run:
        run.flush()  # what a run does once, at its beginning, is not what a step costs
        for number in range(rounds):
            for kind in ("untracked", "tracked") if number % 2 else ("tracked", "untracked"):
                tell = run.points if kind == "tracked" else None
                took[kind].append(seconds(step, steps, tell, 1 + number * steps))
    untracked, tracked = np.array(took["untracked"]), np.array(took["tracked"]) + behind
    low, high = _interval(untracked, tracked)
    return {
        "steps_per_second_untracked": steps / float(np.median(untracked)),
        "steps_per_second_tracked": steps / float(np.median(tracked)),
        "ratio": float(np.median(untracked) / np.median(tracked)),
        "ratio_low": low,
        "ratio_high": high,
        **account,
    }


def accounts(tracker: RunStore, project: Project, step: Step, steps: int = 3000) -> dict[str, float]:
    """Where a step's time goes, in microseconds: the step itself, the call that tells, and the run's threads, which
    write, send, and look at the machine's load.
    """
    told: list[float] = []
    with tracker.start(project, name="accounts", kind="benchmark") as run:
        run.flush()

        def tell(values: Mapping[str, float], number: int) -> None:
            began = time.perf_counter()
            run.points(values, number)
            told.append(time.perf_counter() - began)

        own = {each.name: each for each in threading.enumerate() if each.name in ("spool-flush", "spool-send", "load")}
        before = {name: _worked(each) for name, each in own.items()}
        whole = seconds(step, steps, tell)
        worked = {name: _worked(each) - before[name] for name, each in own.items()}
    rest = whole - sum(told) - sum(worked.values())
    each = {"step": rest, "telling": sum(told), "writing": worked["spool-flush"], "sending": worked["spool-send"]}
    return {f"{name}_us": 1e6 * took / steps for name, took in (each | {"load": worked["load"]}).items()}


def _worked(thread: threading.Thread) -> float:
    """Seconds of processor time of a thread."""
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _interval(a: Any, b: Any) -> tuple[float, float]:
    """95% of the ratio of medians, with the rounds drawn again (Efron & Tibshirani 1993, ch. 13)."""
    drawn = np.random.default_rng(0).integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(np.median(a[drawn], axis=1) / np.median(b[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def sustained(tracker: RunStore, project: Project, points: int) -> float:
    """Points a second, from the first call until the server has the last one."""
    with tracker.start(project, name="points", kind="benchmark") as run:
        run.flush()
        began = time.perf_counter()
        for step in range(points // METRICS):
            run.points({f"metric_{each:02}": step / (each + 1) for each in range(METRICS)}, step)
        assert run.flush(), "the server went away"
        return points / (time.perf_counter() - began)


def plain(settings: Settings, tracker: RunStore, project: Project, points: int) -> float:
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
    RunStore(own).prepare()
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
    parser.add_argument("--rounds", type=int, default=800)
    parser.add_argument("--steps", type=int, default=25)
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
            tracker = RunStore(settings)
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
    lines = [line for name in ("torch", "keras") for line in _told(name, found[name])]
    lines.append(
        f"one server on SQLite: {found['points_per_second']:,.0f} points/s (at least {WANTED_POINTS:,.0f}); a loop of "
        f"mlflow.log_metric: {found['points_per_second_log_metric']:,.0f}"
    )
    return "\n".join(lines)


def _told(name: str, found: dict[str, float]) -> Iterator[str]:
    yield (
        f"{name:<6} {found['steps_per_second_untracked']:8.1f} steps/s untracked, "
        f"{found['steps_per_second_tracked']:8.1f} tracked at {METRICS} metrics a step: "
        f"{found['ratio']:.1%} [{found['ratio_low']:.1%}, {found['ratio_high']:.1%}] (at least {WANTED_RATIO:.0%})"
    )
    parts = {part: found[f"{part}_us"] for part in ("telling", "writing", "sending", "load")}
    whole = found["step_us"] + sum(parts.values())
    yield (
        f"       of {whole:,.0f} us a step: {', '.join(f'{part} {took:.1f}' for part, took in parts.items())}, so "
        f"{found['step_us'] / whole:.1%} is the step's own"
    )


if __name__ == "__main__":
    sys.exit(main())
