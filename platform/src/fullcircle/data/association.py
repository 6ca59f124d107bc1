"""How strongly a single column tells the target, from 0.5 (not at all) to 1, for each kind of task and of column. Pure.

Everything is on the scale of ROC AUC. Of a number it is the concordance: the share of the pairs of rows with different
targets that the column orders rightly, equal values counted half, which for two classes is ROC AUC. Source: Somers
1962, "A new asymmetric measure of association for ordinal variables"; Harrell et al. 1982 call it C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Column, Image
from fullcircle.core.row_tensors import pixels

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Outcome = NDArray[Any]
    """What a column is asked to tell: bool (rows,) whether a row is of a class, or float64 (rows,) a number."""
    Targets = NDArray[Any]

FOLDS = 5
SMOOTHING = 10.0
"""Rows of prior that a category's rate is drawn towards: a category seen once says little."""
JUDGED = 50_000
"""Most rows of each class that a single column is judged on. ROC AUC does not depend on the classes' sizes."""
JUDGED_IMAGES = 2_000
"""The same for images, whose pixels are judged one by one."""
FEWER = 5
"""Where a column is judged by pairs, or for many outcomes, by so many times fewer rows."""
MOST_OUTCOMES = 16
"""Classes, or labels, that a column is asked for: the most frequent."""
SUSPECTS = 32
"""Pixels of an image whose strength is counted out: those that go with the target most."""
MIN_CLASS = 20
"""Below this many rows of either class, a column's ROC AUC is chance."""
BINS = 32


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How scores and an outcome are compared.

    Attributes:
        either_way: `(scores, outcome)` -> from 0.5 to 1, whichever direction the scores have.
        apart: `(matrix, outcome)` -> (columns,): how much each column of a matrix goes with the outcome.
        share: outcome -> the same as numbers from 0 to 1, of which a category has a mean.
        binned: whether a number may tell by lying in between: the second of three classes.
    """

    either_way: Callable[[NDArray[np.float64], Outcome], float]
    apart: Callable[[NDArray[np.float32], Outcome], NDArray[np.float64]]
    share: Callable[[Outcome], NDArray[Any]]
    binned: bool = False


@dataclass(frozen=True, kw_only=True)
class Association:
    """How strongly a column tells the targets of a kind of task.

    Attributes:
        words: between a column and its strength in a sentence: "reaches ROC AUC".
        outcomes: targets -> what a column is asked for.
        rows: `(targets, most)` -> positions of the rows that are looked at.
        over: strengths for each outcome -> the strength.
        adds_up: whether a sum of columns can be the target.
    """

    words: str
    measure: Measure
    outcomes: Callable[[Targets], list[Outcome]]
    rows: Callable[[Targets, int], NDArray[np.intp]]
    over: Callable[[Sequence[float]], float] = max
    adds_up: bool = False

    def strength(self, column: Column, values: pd.Series, targets: Targets) -> float:
        """Of one column, from 0.5 to 1. Shapes: (rows,), targets as the task's."""
        sample = self.rows(targets, JUDGED_IMAGES if column.kind == "image" else JUDGED)
        tells = READERS[column.kind](column, values.iloc[sample])
        outcomes = self.outcomes(targets[sample])
        return self.over([tells(outcome, self.measure) for outcome in outcomes]) if outcomes else 0.5


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks, ties counted half. Source: Hanley & McNeil 1982. Both classes are there."""
    from scipy.stats import rankdata

    positives = int(labels.sum())
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def concordance(scores: NDArray[np.float64], numbers: NDArray[np.float64]) -> float:
    """Of the pairs with different numbers, the share that the scores order alike, ties in the scores counted half."""
    from scipy.stats import kendalltau

    pairs, tied_scores, tied = len(numbers) * (len(numbers) - 1) / 2, _tied(scores), _tied(numbers)
    if tied_scores == pairs or tied == pairs:
        return 0.5
    # Kendall's tau-b is divided by both sides' untied pairs, Somers' D by those of the numbers alone.
    tau = float(kendalltau(scores, numbers, method="asymptotic").statistic)
    return 0.5 + tau * float(np.sqrt((pairs - tied_scores) / (pairs - tied))) / 2


def strength(column: Column, values: pd.Series, labels: NDArray[np.bool_]) -> float:
    """ROC AUC of one column alone, from 0.5 (says nothing) to 1.0. Shapes: (rows,), (rows,)."""
    return READERS[column.kind](column, values)(labels, ROC_AUC)


def _tied(values: NDArray[np.float64]) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def _area(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_CLASS:
        return 0.5
    area = auc(scores, labels)
    return max(area, 1.0 - area)


def _order(scores: NDArray[np.float64], numbers: NDArray[np.float64]) -> float:
    if len(numbers) < 2 * MIN_CLASS:
        return 0.5
    found = concordance(scores, numbers)
    return max(found, 1.0 - found)


def _mean_difference(matrix: NDArray[np.float32], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not labels.any() or labels.all():
        return np.zeros(matrix.shape[1])
    # Bounded values: a pixel that orders the classes nearly by itself is among those whose means lie furthest apart.
    spread = matrix.std(axis=0) + np.float32(1e-12)
    return np.asarray(np.abs(matrix[labels].mean(axis=0) - matrix[~labels].mean(axis=0)) / spread)


def _correlation(matrix: NDArray[np.float32], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = matrix.std(axis=0) + np.float32(1e-12)
    ranks = _rank_share(numbers) - 0.5
    return np.asarray(np.abs((matrix - matrix.mean(axis=0)).T @ ranks) / spread)


def _rank_share(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0 to 1: of values themselves, one that is huge would make a category's mean."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(numbers) - 0.5) / max(len(numbers), 1))


def _number(column: Column, values: pd.Series) -> Callable[[Outcome, Measure], float]:
    """By its value where it has one, by the bin that it is in, and by whether it is missing."""
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    present = ~np.isnan(numbers)
    edges: NDArray[np.float64] = (
        np.unique(np.quantile(numbers[present], np.linspace(0, 1, BINS + 1)[1:-1])) if present.any() else np.empty(0)
    )

    def tells(outcome: Outcome, measure: Measure) -> float:
        found = [measure.either_way(numbers[present], outcome[present])]
        if measure.binned:
            bins = np.where(present, np.searchsorted(edges, numbers, side="right"), -1)
            found.append(measure.either_way(_rates(bins, measure.share(outcome)), outcome))
        return max(*found, measure.either_way(present.astype("float64"), outcome))

    return tells


def _category(column: Column, values: pd.Series) -> Callable[[Outcome, Measure], float]:
    """By its out-of-fold rate, so that a category of one row does not give its own answer away; or by its absence."""
    texts = values.astype(object).where(values.notna(), "").astype(str)
    cells, present = texts.to_numpy(), (texts != "").to_numpy()

    def tells(outcome: Outcome, measure: Measure) -> float:
        alone = measure.either_way(_rates(cells, measure.share(outcome)), outcome)
        return max(alone, measure.either_way(present.astype("float64"), outcome))

    return tells


def _image(column: Image, values: pd.Series) -> Callable[[Outcome, Measure], float]:
    """By its brightness, its contrast and its suspicious pixels: a mark in a corner that gives the answer away is a
    leak, that all pixels together do is what the model is for."""
    matrix = pixels(values, column)

    def tells(outcome: Outcome, measure: Measure) -> float:
        suspects = np.argsort(-measure.apart(matrix, outcome), kind="stable")[:SUSPECTS]
        scores = [matrix.mean(axis=1), matrix.std(axis=1), *matrix[:, suspects].T]
        return max(measure.either_way(score.astype("float64"), outcome) for score in scores)

    return tells


READERS: dict[str, Callable[[Any, pd.Series], Callable[[Outcome, Measure], float]]] = {
    "number": _number,
    "category": _category,
    "image": _image,
}
"""Kind of column -> what makes of its cells how strongly they tell an outcome."""


def _rates(cells: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Out-of-fold rate of positives of each row's category, smoothed. Source: Micci-Barreca 2001."""
    import pandas as pd

    codes, known = pd.factorize(cells)
    # Shuffled, with a fixed seed: rows in the order of time would put a category's whole season into one fold.
    folds = np.random.default_rng(0).permutation(len(codes)) % FOLDS
    rates = np.empty(len(codes))
    for fold in range(FOLDS):
        inside = folds == fold
        outside = ~inside
        prior = labels[outside].mean() if outside.any() else 0.5
        rows = np.bincount(codes[outside], minlength=len(known))
        positives = np.bincount(codes[outside], weights=labels[outside], minlength=len(known))
        # No category may tell its fold: the prior differs a little between folds, so only differences to it count.
        rates[inside] = ((positives + SMOOTHING * prior) / (rows + SMOOTHING) - prior)[codes[inside]]
    return rates


def _evenly(positions: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    return positions[:: max(1, -(-len(positions) // most))]


def _positive(targets: Targets) -> list[Outcome]:
    return [targets == 1]


def _balanced(targets: Targets, most: int) -> NDArray[np.intp]:
    """Positions of at most `most` rows of either class, evenly over the rows' order."""
    labels = targets == 1
    sides = (np.flatnonzero(labels), np.flatnonzero(~labels))
    return np.sort(np.concatenate([_evenly(positions, most) for positions in sides]))


def _each_class(targets: Targets) -> list[Outcome]:
    codes, counts = np.unique(targets, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:MOST_OUTCOMES]
    return [targets == codes[index] for index in first if counts[index] >= MIN_CLASS]


def _some_of_each_class(targets: Targets, most: int) -> NDArray[np.intp]:
    """Positions of rows of each class, rare classes whole, about `most` / FEWER * 2 in all."""
    codes = np.unique(targets)
    each = max(5 * MIN_CLASS, 2 * most // FEWER // max(len(codes), 1))
    return np.sort(np.concatenate([_evenly(np.flatnonzero(targets == code), each) for code in codes]))


def _each_label(targets: Targets) -> list[Outcome]:
    rows = targets.sum(axis=0)
    first = np.argsort(-np.minimum(rows, len(targets) - rows), kind="stable")[:MOST_OUTCOMES]
    return [targets[:, index] == 1 for index in first]


def _any(targets: Targets, most: int) -> NDArray[np.intp]:
    return _evenly(np.arange(len(targets)), max(most // FEWER, 10 * MIN_CLASS))


def _mean(strengths: Sequence[float]) -> float:
    return float(np.mean(strengths))


ROC_AUC = Measure(either_way=_area, apart=_mean_difference, share=lambda labels: labels)
"""Of two classes."""
OF_A_CLASS = Measure(either_way=_area, apart=_mean_difference, share=lambda labels: labels, binned=True)
"""Of one class against the rest: a number may tell the middle one of three."""
CONCORDANCE = Measure(either_way=_order, apart=_correlation, share=_rank_share)
"""Of a number."""

ASSOCIATIONS: dict[str, Association] = {
    "roc_auc": Association(words="reaches ROC AUC", measure=ROC_AUC, outcomes=_positive, rows=_balanced),
    "rank_correlation": Association(
        words="orders the target's pairs of rows rightly to a share of",
        measure=CONCORDANCE,
        outcomes=lambda targets: [np.asarray(targets, dtype=np.float64)],
        rows=_any,
        adds_up=True,
    ),
    "macro_roc_auc": Association(
        words="reaches a mean ROC AUC of each class of",
        measure=OF_A_CLASS,
        outcomes=_each_class,
        rows=_some_of_each_class,
        over=_mean,
    ),
    "label_roc_auc": Association(
        words="reaches, for one of the labels, ROC AUC", measure=OF_A_CLASS, outcomes=_each_label, rows=_any
    ),
}
"""`Task.association` -> how strongly a column tells such a target."""
