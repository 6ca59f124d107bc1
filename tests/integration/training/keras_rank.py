"""One process of a Keras job, for the tests of several: learns the same global batches in a process group of any size.

Usage: keras_rank.py OUT [--devices N] [--dropout P] [--steps A B] [--load FOLDER] [--save FOLDER] [--kill STEP RANK]
[--preempted]. With --save it learns three steps more after B, while the state of B is being written.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import numpy as np

from fullcircle.core.errors import Preempted
from fullcircle.core.project import Compute, Training
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.framework import FRAMEWORK
from fullcircle.training.ports import Chunk

BATCH, INPUTS = 24, 5


def build(inputs, params):
    layers = [keras.Input((inputs,)), keras.layers.Dense(16, activation="relu")]
    if params["dropout"]:
        layers.append(keras.layers.Dropout(params["dropout"]))
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def share(first, last, rank, size):
    """This rank's part of the global batches `first` to `last`, the same rows in a process group of any size."""
    batches = [np.random.default_rng(step) for step in range(first, last + 1)]
    x = np.stack([batch.normal(size=(BATCH, INPUTS)) for batch in batches]).astype(np.float32)
    y = (x.sum(axis=2) > 0).astype(np.float32)
    w = (1 + np.arange(BATCH, dtype=np.float32) / BATCH)[None].repeat(len(batches), axis=0)
    own = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    x, y, w = (np.ascontiguousarray(values[:, own]) for values in (x, y, w))
    return Chunk(first=first, x=x, y=y, w=w, counts=np.full(len(batches), BATCH))


def learn(options, process_group):
    training = Training(clip_norm=0.5, learning_rate=0.01, extra={"dropout": options.dropout})
    engine = FRAMEWORK.engine(build, (INPUTS,), training, Compute(), process_group)
    if options.load:
        engine.load(options.load)
    first, last = options.steps
    if options.kill and options.kill[1] == process_group.rank:
        engine.steps(share(first, options.kill[0], process_group.rank, process_group.size))
        os.kill(os.getpid(), signal.SIGKILL)
    parts = [engine.steps(share(first, last, process_group.rank, process_group.size))]
    if options.save:
        pending = engine.save(options.save)
        parts.append(engine.steps(share(last + 1, last + 3, process_group.rank, process_group.size)))
        pending.wait()
    losses = np.concatenate([part.losses for part in parts])
    rows = share(1, 1, 0, 1).x[0]
    np.savez(
        f"{options.out}-{process_group.rank}.npz",
        losses=process_group.sum_over_ranks(losses),
        own=losses,
        norms=np.concatenate([part.norms for part in parts]),
        waited=sum(part.communication_s for part in parts),
        logits=engine.outputs(rows),
        **engine.weights(),
    )
    if options.preempted:
        raise Preempted("told to stop", step=last)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--steps", type=int, nargs=2, default=(1, 9))
    parser.add_argument("--load", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--kill", type=int, nargs=2)
    parser.add_argument("--preempted", action="store_true")
    options = parser.parse_args()
    if options.devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.devices)
    try:
        with FRAMEWORK.process_group(Compute()) as process_group:
            learn(options, process_group)
    except Preempted:
        raise SystemExit(Preempted.exit_code) from None


if __name__ == "__main__":
    main()
