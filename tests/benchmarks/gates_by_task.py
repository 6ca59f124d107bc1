"""Does the gate tell luck from progress for every kind of problem? Seeded simulations in which the truth is known.

    python tests/benchmarks/gates_by_task.py [--trials 2000] [--rows 1000]

Champion and challenger answer the truth behind noise, most of which they share, as models of one problem do. Of equally
good ones the noise has one size; of a better challenger its own noise is so much smaller. Every comparison is the
metric's own paired test and `evaluation.superiority_test`, as the gate does it. `gates.py` has the yearly error budget,
few rows, and the figures by ROC AUC alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fullcircle.core.tasks import Binary, Multiclass, Multilabel, Regression, Task
from fullcircle.evaluation.superiority_test import superiority_test

LEVELS = (0.025, 0.005, 0.0005)
"""One-sided. The last is about what a weekly retrain has: 0.05 / 104."""
LOOK = 0.05 / 12
GAINS = (0.02, 0.05, 0.1, 0.2)
"""By what share of it the challenger's own noise is smaller."""
SHARED = 0.8
"""Share of the noise's variance that champion and challenger have in common."""
CLASSES, LABELS = 4, 3
_NORMAL = NormalDist()

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Targets, the champion's answers, the challenger's."""


@dataclass(frozen=True)
class World:
    """A kind of problem with data of a kind. `draw(rng, rows, gain)` gives a `Pair`."""

    title: str
    task: Task
    draw: Callable[[np.random.Generator, int, float], Pair]


def noises(rng: np.random.Generator, shape: tuple[int, ...], gain: float) -> tuple[np.ndarray, np.ndarray]:
    """The noise of champion and challenger, of variance 1, and of less for the one that is better."""
    common, own, other = (rng.normal(size=shape) for _ in range(3))
    mixed = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own, np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * other
    return mixed[0], (1 - gain) * mixed[1]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """As a share."""
    return 1 / (1 + np.exp(-values))


def binary(rng: np.random.Generator, rows: int, gain: float) -> Pair:
    """A quarter positive, calibrated but for the noise."""
    logit = rng.normal(-1.5, 1.3, rows)
    y = (rng.random(rows) < sigmoid(logit)).astype(np.int8)
    one, other = (sigmoid(logit + each).astype(np.float32) for each in noises(rng, (rows,), gain))
    return y, one, other


def several_classes(rng: np.random.Generator, rows: int, gain: float) -> Pair:
    """Four classes, the rarest one row in ten or so."""
    logits = rng.normal(size=(rows, CLASSES)) * 1.5 + np.array([1.0, 0.5, 0.0, -0.5])

    def softmax(values: np.ndarray) -> np.ndarray:
        raised = np.exp(values - values.max(axis=1, keepdims=True))
        return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)

    y = (softmax(logits).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(max=CLASSES - 1).astype(np.int16)
    one, other = (softmax(logits + each) for each in noises(rng, (rows, CLASSES), gain))
    return y, one, other


def several_labels(rng: np.random.Generator, rows: int, gain: float) -> Pair:
    """Three labels, of which a row has one or so."""
    logits = rng.normal(-0.8, 1.5, (rows, LABELS))
    y = (rng.random((rows, LABELS)) < sigmoid(logits)).astype(np.int8)
    one, other = (sigmoid(logits + each).astype(np.float32) for each in noises(rng, (rows, LABELS), gain))
    return y, one, other


def a_number(tail: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[..., Pair]:
    """A number whose unexplained part is of that kind."""

    def draw(rng: np.random.Generator, rows: int, gain: float) -> Pair:
        mean = rng.normal(size=rows)
        one, other = (np.asarray(mean + 0.7 * each, np.float32) for each in noises(rng, (rows,), gain))
        return mean + tail(rng, rows), one, other

    return draw


def in_logarithms(rng: np.random.Generator, rows: int, gain: float) -> Pair:
    """A log-normal number: models err by a share of it, and a few rows carry most of the squares."""
    mean = rng.normal(size=rows)
    one, other = (np.exp(mean + 0.5 * each).astype(np.float32) for each in noises(rng, (rows,), gain))
    return np.exp(mean + rng.normal(size=rows)), one, other


def with_an_interval(rng: np.random.Generator, rows: int, gain: float) -> Pair:
    """A number with 80% intervals around it."""
    y, one, other = a_number(lambda r, n: r.normal(size=n))(rng, rows, gain)
    half = _NORMAL.inv_cdf(0.9)
    wide = [np.stack([each, each - half, each + half], axis=1).astype(np.float32) for each in (one, other)]
    return y, wide[0], wide[1]


WORLDS = (
    World("yes or no", Binary("y", "yes"), binary),
    World("4 classes", Multiclass("y", tuple("abcd")), several_classes),
    World("3 labels", Multilabel("y", tuple("abc")), several_labels),
    World("a number, normal", Regression("y"), a_number(lambda rng, rows: rng.normal(size=rows))),
    World("a number, Student's t(3)", Regression("y"), a_number(lambda rng, rows: rng.standard_t(3, rows))),
    World("a number, log-normal", Regression("y"), in_logarithms),
    World("a number, quantiles", Regression("y", loss="quantile"), with_an_interval),
)


def p_values(world: World, names: tuple[str, ...], gain: float, rows: int, trials: int) -> Mapping[str, np.ndarray]:
    """Metric -> the one-sided p-value of each trial that the challenger is better."""
    rng, found = np.random.default_rng(17), {name: np.empty(trials) for name in names}
    for trial in range(trials):
        y, champion, challenger = world.draw(rng, rows, gain)
        for name in names:
            metric = world.task.metrics[name]
            test = metric.gain(metric.test(y, challenger, champion, trial))
            found[name][trial] = superiority_test(test, 0.0, LOOK).p_value
    return found


def beyond_chance(hits: int, trials: int, level: float, cells: int) -> bool:
    """Whether so many hits are too many for that level, at 5% over all cells of the table (Bonferroni), exactly."""
    from scipy.stats import binom

    return bool(binom.sf(hits - 1, trials, level) < 0.05 / cells)


def tested(task: Task) -> tuple[str, ...]:
    """The metrics of its tables that a gate compares at a level; coverage has a target, and more is not better."""
    return tuple(name for name in task.headline if name not in ("coverage", "calibration_error"))


def main() -> int:
    """Print the tables; 1 when equally good models are told apart more often than the level, beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="comparisons of each kind")
    parser.add_argument("--rows", type=int, default=1000, help="test rows of each")
    asked = parser.parse_args()
    held, cells = True, len(LEVELS) * sum(len(tested(world.task)) for world in WORLDS)
    print(f"# Gates by task\n\n{asked.rows:,} rows, {asked.trials:,} comparisons; challengers that are no better\n")
    print(f"| data | metric | {' | '.join(f'at {level:g}' for level in LEVELS)} |\n|{'---|' * (2 + len(LEVELS))}")
    for world in WORLDS:
        for name, values in p_values(world, tested(world.task), 0.0, asked.rows, asked.trials).items():
            hits = [int((values <= level).sum()) for level in LEVELS]
            held &= not any(
                beyond_chance(hit, asked.trials, level, cells) for hit, level in zip(hits, LEVELS, strict=True)
            )
            shares = " | ".join(f"{hit / asked.trials:.4f}" for hit in hits)
            print(f"| {world.title} | {world.task.metrics[name].title} | {shares} |", flush=True)
    trials = max(asked.trials // 4, 20)
    print(f"\nBetter challengers: share promoted at {LOOK:.4f}, by how much less noise they have\n")
    print(f"| data | metric | {' | '.join(f'{gain:.0%}' for gain in GAINS)} |\n|{'---|' * (2 + len(GAINS))}")
    for world in WORLDS:
        found = {gain: p_values(world, tested(world.task), gain, asked.rows, trials) for gain in GAINS}
        for name in tested(world.task):
            shares = " | ".join(f"{(found[gain][name] <= LOOK).mean():.0%}" for gain in GAINS)
            print(f"| {world.title} | {world.task.metrics[name].title} | {shares} |", flush=True)
    print("\nEvery level holds." if held else "\nA LEVEL DOES NOT HOLD.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
