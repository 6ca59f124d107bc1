"""Does the gate tell luck from progress? Seeded simulations in which the truth is known.

    python tests/benchmarks/gates.py [--trials 1000] [--years 1000]

Scores are binormal: of a positive row N(d, 1), of a negative row N(0, 1), so that the true ROC AUC is Phi(d / sqrt 2);
the champion's and a challenger's scores of one row are correlated, as those of models of one problem are. Every
comparison runs `core.statistics.intervals.auc_interval` and `evaluation.superiority_test`, as the gate does. A look
holds two candidates against the champion, the network and the baseline, as a retrain may. How often the gate's
intervals hold the truth is told for few rows, where the textbook's (DeLong, the bootstrap) are too narrow: Newcombe
2006 and 1998, see `core.statistics.small_samples`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np

from fullcircle.core.project import ErrorBudget
from fullcircle.core.statistics.binary_metrics import brier, delong, log_loss
from fullcircle.core.statistics.intervals import auc_interval, metric_interval
from fullcircle.evaluation.alpha_spending import PastAnalysis, next_analysis
from fullcircle.evaluation.superiority_test import SuperiorityResult, superiority_test

AUC, POSITIVE, CORRELATION = 0.70, 0.25, 0.9
ROWS, POWER_ROWS, WEEKS = 1000, 12_000, 52
GAINS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02)
BUDGETS = (1, 12, 52)
FEW = (10, 28, 60, 200)
START = datetime(2013, 1, 1, tzinfo=UTC)
_NORMAL = NormalDist()


def compared(rng: np.random.Generator, rows: int, gains: tuple[float, ...], level: float) -> list[SuperiorityResult]:
    """The tests of challengers whose true ROC AUC is the champion's plus `gains`, all on the same rows."""
    labels = (rng.random(rows) < POSITIVE).astype(np.int8)
    champion, *challengers = scored(rng, labels, (AUC, *(AUC + gain for gain in gains)))
    return [superiority_test(auc_interval(labels, scores, champion), 0.0, level) for scores in challengers]


def scored(rng: np.random.Generator, labels: np.ndarray, aucs: tuple[float, ...]) -> list[np.ndarray]:
    """Scores (rows,) of models with those true ROC AUCs, correlated as models of one problem are."""
    common = rng.normal(size=len(labels))

    def scores(auc: float) -> np.ndarray:
        own = rng.normal(size=len(labels))
        noise = math.sqrt(CORRELATION) * common + math.sqrt(1 - CORRELATION) * own
        return noise + labels * math.sqrt(2) * _NORMAL.inv_cdf(auc)

    return [scores(auc) for auc in aucs]


def coverage(rows: int, auc: float, trials: int, seed: int) -> dict[str, float]:
    """How often each interval of `rows` rows holds the truth: asked for is 95%.

    The first three are of binormal scores with that true ROC AUC, half of them positive; the losses are of calibrated
    probabilities behind noise, whose true mean is taken from 200,000 rows.
    """
    rng, hits = np.random.default_rng(seed), dict.fromkeys(("DeLong", "ROC AUC", "difference", "log loss", "Brier"), 0)
    _, truth = losses(np.random.default_rng(0), 200_000)
    used = 0
    for trial in range(trials):
        labels = (rng.random(rows) < 0.5).astype(np.int8)
        if not 0 < labels.sum() < rows:
            continue  # one class alone is refused before it is judged
        used += 1
        a, b = scored(rng, labels, (auc, auc))
        (labels_too, answers), _ = losses(rng, rows)
        found = {
            "DeLong": (delong(labels, a), auc),
            "ROC AUC": (auc_interval(labels, a), auc),
            "difference": (auc_interval(labels, a, b), 0.0),
            "log loss": (metric_interval(labels_too, answers, log_loss, seed=trial), truth["log loss"]),
            "Brier": (metric_interval(labels_too, answers, brier, seed=trial), truth["Brier"]),
        }
        for name, (interval, true) in found.items():
            hits[name] += interval.low <= true <= interval.high
    return {name: count / used for name, count in hits.items()}


def losses(rng: np.random.Generator, rows: int) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, float]]:
    """((labels, probabilities) of `rows` rows, what they come to)."""
    logit = rng.normal(-0.5, 2.0, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    answers = 1 / (1 + np.exp(-logit - rng.normal(0, 0.5, rows)))
    return (labels, answers), {"log loss": log_loss(labels, answers), "Brier": brier(labels, answers)}


def n_analyses(rng: np.random.Generator, evidence: ErrorBudget, count: int) -> Iterator[list[SuperiorityResult]]:
    """A year of weekly retrains whose challengers are no better than the champion."""
    taken: list[PastAnalysis] = []
    for week in range(count):
        at = START + timedelta(weeks=week)
        analysis = next_analysis(evidence, taken, at)
        taken.append(PastAnalysis(at=at, level=analysis.level))
        yield compared(rng, ROWS, (0.0, 0.0), analysis.test_level)


def false_promotions(sequences: int, evidence: ErrorBudget, count: int, seed: int) -> dict[str, int]:
    """In how many sequences of `count` looks at equally good models each rule promotes once or more."""
    rng, found = np.random.default_rng(seed), dict.fromkeys(("gate", "p below 0.05", "ROC AUC higher"), 0)
    for _ in range(sequences):
        tests = [test for analysis in n_analyses(rng, evidence, count) for test in analysis]
        found["gate"] += any(test.proven for test in tests)
        found["p below 0.05"] += any(test.p_value < 0.05 for test in tests)
        found["ROC AUC higher"] += any(test.gain.value > 0 for test in tests)
    return found


def power(trials: int, gain: float, seed: int, rows: int = POWER_ROWS) -> dict[str, float]:
    """Share of challengers that are better by `gain` which each rule promotes."""
    rng = np.random.default_rng(seed)
    tests = [test for _ in range(trials) for test in compared(rng, rows, (gain,), 0.01)]
    levels = {count: next_analysis(ErrorBudget(n_analyses=count), (), START).test_level for count in BUDGETS}
    shares = {f"{count} a year": share([test.p_value <= level for test in tests]) for count, level in levels.items()}
    return shares | {"ROC AUC higher": share([test.gain.value > 0 for test in tests])}


def share(hits: list[bool]) -> float:
    """Share of True."""
    return sum(hits) / len(hits)


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95% interval of a share. Source: Wilson 1927."""
    z, p = _NORMAL.inv_cdf(0.975), hits / trials
    middle, half = p + z * z / (2 * trials), z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (middle - half) / scale, (middle + half) / scale


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table."""
    for cells in (head, ("---",) * len(head), *rows):
        print(f"| {' | '.join(cells)} |")
    print()


def shown(hits: int, trials: int) -> str:
    """`3.9% [2.8%, 5.3%]`."""
    low, high = wilson(hits, trials)
    return f"{hits / trials:.1%} [{low:.1%}, {high:.1%}]"


def main() -> int:
    """Print the tables; 1 when the gate promotes more often by luck than it says, beyond what chance explains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="single looks at equally good models")
    parser.add_argument("--years", type=int, default=1000, help="years of 52 looks at equally good models")
    asked = parser.parse_args()
    single = false_promotions(asked.trials, ErrorBudget(n_analyses=1), 1, seed=1)
    year = false_promotions(asked.years, ErrorBudget(n_analyses=WEEKS), WEEKS, seed=2)
    print(f"# Gates\n\nROC AUC {AUC}, {POSITIVE:.0%} positive, scores correlated {CORRELATION}, 95% intervals.\n")
    print(f"Equally good models, {ROWS:,} rows a look: at least one false promotion\n")
    table(
        ("rule", f"one look, {asked.trials:,} times", f"{WEEKS} weekly looks, {asked.years:,} years"),
        [(rule, shown(single[rule], asked.trials), shown(year[rule], asked.years)) for rule in single],
    )
    print(f"Truly better models, {POWER_ROWS:,} rows: share promoted, by how many looks share the 5%\n")
    curve = {gain: power(max(asked.trials // 4, 20), gain, seed=3) for gain in GAINS}
    table(
        ("true gain", *curve[0.0]),
        [(f"{gain:+.4f}", *(f"{value:.0%}" for value in curve[gain].values())) for gain in GAINS],
    )
    print("Intervals of few rows: how often they hold the truth (asked for: 95%)\n")
    trials = min(asked.trials, 400)  # each is a bootstrap of its own
    covered = {(rows, auc): coverage(rows, auc, trials, seed=4) for rows in FEW for auc in (0.7, 0.98)}
    table(
        ("rows", "true ROC AUC", "DeLong alone", *tuple(covered[10, 0.7])[1:]),
        [(str(rows), f"{auc:g}", *(f"{v:.1%}" for v in found.values())) for (rows, auc), found in covered.items()],
    )
    held = all(
        wilson(hits, trials)[0] <= 0.05
        for hits, trials in ((single["gate"], asked.trials), (year["gate"], asked.years))
    )
    print("The gate holds its 5%." if held else "THE GATE DOES NOT HOLD ITS 5%.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
