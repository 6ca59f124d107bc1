"""How fast we train: our loop against the bare loops of both frameworks, on one process and one thread.

    python tests/benchmarks/train.py [--rounds 7] [--json]

Every round runs each contender once, one after the other, so that whatever else the machine does meets all of them; a
figure is the ratio of medians over the rounds. The same rows, model, batch and optimizer for all.

`ours` is a whole training by `fullcircle.training`: with its validation, its checkpoints, its journal and its guard
against non-finite numbers. The bare loops do none of that.
"""

from __future__ import annotations

import argparse
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

from fullcircle.core.project import Training  # noqa: E402
from fullcircle.core.records.training import Arrays, EpochMetrics  # noqa: E402
from fullcircle.core.settings import quiet_dependencies  # noqa: E402

quiet_dependencies()

ROWS, FEATURES, BATCH, HIDDEN, EPOCHS = 131_072, 70, 1024, (128, 64), 3
PARAMS = Training(epochs=EPOCHS, batch_size=BATCH, patience=EPOCHS, class_weights=False)
Seconds = Callable[[], float]


def build_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    """The flights' network: two hidden layers with dropout."""
    from torch import nn

    layers: list[Any] = []
    for width in HIDDEN:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(0.2)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def build_keras(inputs: int, params: Mapping[str, Any]) -> Any:
    """The same in Keras."""
    import keras

    layers: list[Any] = [keras.Input((inputs,))]
    for width in HIDDEN:
        layers += [keras.layers.Dense(width, activation="relu"), keras.layers.Dropout(0.2)]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def rows() -> Arrays:
    """A learnable table as large as some months of flights."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS + 1024, FEATURES)).astype(np.float32)
    y = (random.random(len(x)) < 1 / (1 + np.exp(-x[:, :5].sum(axis=1)))).astype(np.float32)
    return Arrays(x_train=x[:ROWS], y_train=y[:ROWS], x_validation=x[ROWS:], y_validation=y[ROWS:])


def ours(framework: str, arrays: Arrays) -> Seconds:
    """Seconds an epoch of our loop, from the end of the first epoch to the end of the last: all that we do is in it."""
    from fullcircle.core.project import Binary
    from fullcircle.training import trainers

    build = build_torch if framework == "torch" else build_keras

    def run() -> float:
        ends: list[float] = []

        def note(_: EpochMetrics) -> None:
            ends.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as folder:
            task = Binary("late", positive="yes")
            trainers.fit(framework, build, arrays, PARAMS, task=task, folder=Path(folder), on_epoch=note)
        return (ends[-1] - ends[0]) / (len(ends) - 1)

    return run


def bare_torch(arrays: Arrays) -> Seconds:
    """The loop that one writes by hand: the table as one tensor, a permutation, an index a batch."""
    import torch

    x, y = torch.from_numpy(arrays.x_train), torch.from_numpy(arrays.y_train).reshape(-1, 1)

    def epoch(model: Any, optimizer: Any) -> None:
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows]).backward()
            optimizer.step()

    return _timed_torch(epoch)


def stock_dataloader(arrays: Arrays) -> Seconds:
    """The loop of the tutorials: TensorDataset and DataLoader, which fetches and collates row by row."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.from_numpy(arrays.x_train), torch.from_numpy(arrays.y_train).reshape(-1, 1))

    def epoch(model: Any, optimizer: Any) -> None:
        for x, y in DataLoader(data, batch_size=BATCH, shuffle=True):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
            optimizer.step()

    return _timed_torch(epoch)


def _timed_torch(epoch: Callable[[Any, Any], None]) -> Seconds:
    import torch

    def run() -> float:
        torch.set_num_threads(1)
        model = build_torch(FEATURES, {}).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        epoch(model, optimizer)
        started = time.perf_counter()
        for _ in range(EPOCHS - 1):
            epoch(model, optimizer)
        return (time.perf_counter() - started) / (EPOCHS - 1)

    return run


def bare_keras(arrays: Arrays) -> Seconds:
    """The loop of TensorFlow's guide: one tf.function a step."""
    import keras
    import tensorflow as tf

    x, y = tf.constant(arrays.x_train), tf.constant(arrays.y_train.reshape(-1, 1))

    def run() -> float:
        model = build_keras(FEATURES, {})
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_variables)

        @tf.function
        def step(rows: Any) -> Any:
            with tf.GradientTape() as tape:
                losses = tf.nn.sigmoid_cross_entropy_with_logits(
                    tf.gather(y, rows), model(tf.gather(x, rows), training=True)
                )
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            return loss

        def epoch() -> None:
            order = np.random.default_rng(0).permutation(ROWS)
            for start in range(0, ROWS, BATCH):
                step(tf.constant(order[start : start + BATCH]))

        epoch()
        started = time.perf_counter()
        for _ in range(EPOCHS - 1):
            epoch()
        return (time.perf_counter() - started) / (EPOCHS - 1)

    return run


def keras_fit(arrays: Arrays) -> Seconds:
    """Keras' own `fit`, with 16 steps an execution."""
    import keras

    def run() -> float:
        model = build_keras(FEATURES, {})
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, steps_per_execution=16)
        y = arrays.y_train.reshape(-1, 1)
        model.fit(arrays.x_train, y, batch_size=BATCH, epochs=1, verbose=0)
        started = time.perf_counter()
        model.fit(arrays.x_train, y, batch_size=BATCH, epochs=EPOCHS - 1, verbose=0)
        return (time.perf_counter() - started) / (EPOCHS - 1)

    return run


def compare(contenders: Mapping[str, Seconds], rounds: int) -> dict[str, float]:
    """Median seconds an epoch of each, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name, run in contenders.items():
            times[name].append(run())
        _say(f"round {index + 1} of {rounds}: " + ", ".join(f"{name} {each[-1]:.3f} s" for name, each in times.items()))
    return {name: statistics.median(each) for name, each in times.items()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    arrays = rows()
    torch_s = compare(
        {"ours": ours("torch", arrays), "bare loop": bare_torch(arrays), "DataLoader": stock_dataloader(arrays)},
        options.rounds,
    )
    keras_s = compare(
        {"ours": ours("keras", arrays), "bare loop": bare_keras(arrays), "fit": keras_fit(arrays)}, options.rounds
    )
    if options.json:
        print(json.dumps({"torch": torch_s, "keras": keras_s}))
        return
    print(f"Throughput, higher is better: {ROWS:,} rows of {FEATURES}, batch {BATCH}, hidden {HIDDEN}, one thread.\n")
    print("| ours against | ratio | ours, samples/s | theirs, samples/s | asked for |\n|---|---|---|---|---|")
    for label, times, peer, asked in (
        ("a bare torch loop", torch_s, "bare loop", "0.97"),
        ("the stock DataLoader loop", torch_s, "DataLoader", "2"),
        ("a bare tf.function loop", keras_s, "bare loop", "0.97"),
        ("Keras' own fit", keras_s, "fit", "0.97"),
    ):
        ratio = times[peer] / times["ours"]
        print(f"| {label} | {ratio:.2f} | {ROWS / times['ours']:,.0f} | {ROWS / times[peer]:,.0f} | {asked} |")


if __name__ == "__main__":
    main()
