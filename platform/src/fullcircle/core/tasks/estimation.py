"""Makes a `Metric` of what each row adds to it: its estimate, its interval and its paired test follow from that alone.

The test is Student's paired t in its normal limit (Student 1908, "The probable error of a mean", Biometrika 6:1-25) on
the rows' differences. For a metric that is no mean the rows are pseudo-values, the value plus the influence function:
the delta method (van der Vaart 1998, "Asymptotic statistics", ch. 20).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.binary_metrics import wins
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.intervals import MISPLACED, auc_interval
from fullcircle.core.statistics.means import SampleLimits, mean_difference, mean_interval
from fullcircle.core.statistics.small_samples import FEW_OF_A_CLASS, unseen_share
from fullcircle.core.tasks.metric import Metric, always, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Targets = NDArray[Any]
    Answers = NDArray[np.float32]
    PerRow = Callable[[Targets, Answers], NDArray[np.float64]]
    PairedRows = Callable[[Targets, Answers, Answers], NDArray[np.float64]]
    Parts = Callable[[Targets], Iterable[tuple[int, NDArray[np.bool_]]]]
    Widths = Callable[[Targets, tuple[Answers, ...]], tuple[float, float]]

NEGLIGIBLE_AREA = 0.005
"""A difference of two ROC AUCs that counts as nothing."""


def mean_metric(
    name: str,
    title: str,
    per_row: PerRow,
    *,
    greater_is_better: bool,
    effective_rows: Callable[[Targets], int] = len,
    paired_rows: PairedRows | None = None,
    worst: Callable[[Targets, Answers], float] | None = None,
    widths: Widths | None = None,
    bounds: tuple[float | None, float | None] = (0.0, None),
    unit: str = "",
    negligible: float = 0.0,
    relative: bool = False,
    undefined: Callable[[Targets], str | None] = always,
) -> Metric:
    """A metric that is the mean of `per_row`.

    Args:
        per_row: `(targets, answers)` -> float64 (rows,).
        paired_rows: `(targets, a, b)` -> (rows,) numbers whose mean is the metric of `a` minus that of `b`, where that
            is known more exactly than by the difference of `per_row`.
        effective_rows: targets -> the rows that limit the evidence: below 50, intervals are widened.
        worst: what a row that was not seen may add; None: the largest that was seen.
        widths: `(targets, models)` -> how far below and above the value the limits of few rows lie, of one model or of
            the difference of two, where that is known better than by `worst`: of an area. Near 0 and 1 these count also
            where rows are many.
        bounds: the least and the largest value that the metric can have.
    """
    differences: PairedRows = paired_rows or (lambda y, a, b: per_row(y, a) - per_row(y, b))

    def limits(targets: Targets, *models: Answers, few: bool = False) -> SampleLimits:
        most = worst or (lambda y, a: float(np.abs(per_row(y, a)).max(initial=0.0)))
        return SampleLimits(
            few=few or effective_rows(targets) < FEW_OF_A_CLASS,
            worst=max(most(targets, model) for model in models),
            widths=(lambda: widths(targets, models)) if widths else None,
        )

    def interval(targets: Targets, answers: Answers, seed: int | None) -> Interval:
        rows = per_row(targets, answers)
        value = float(rows.mean())
        edge = widths is not None and min(value, 1 - value) * effective_rows(targets) < MISPLACED
        return within(mean_interval(rows, limits(targets, answers, few=edge), seed=seed), bounds)

    def difference(targets: Targets, a: Answers, b: Answers, seed: int | None) -> Interval:
        return mean_difference(differences(targets, a, b), limits(targets, a, b), seed=seed)

    return Metric(
        name=name,
        title=title,
        unit=unit,
        greater_is_better=greater_is_better,
        value=lambda targets, answers: float(per_row(targets, answers).mean()),
        interval=interval,
        difference=difference,
        test=lambda targets, a, b, seed: difference(targets, a, b, None),
        per_row=per_row,
        paired_rows=paired_rows,
        bounds=bounds,
        negligible=negligible,
        relative=relative,
        undefined=undefined,
    )


def share_metric(
    name: str,
    title: str,
    per_row: PerRow,
    *,
    effective_rows: Callable[[Targets], int] = len,
    worst: Callable[[Targets, Answers], float] = lambda targets, answers: 1.0,
    widths: Widths | None = None,
    negligible: float = 0.0,
    undefined: Callable[[Targets], str | None] = always,
) -> Metric:
    """A `mean_metric` between 0 and 1, greater is better: an accuracy, an F1."""
    return mean_metric(
        name,
        title,
        per_row,
        greater_is_better=True,
        effective_rows=effective_rows,
        worst=worst,
        widths=widths,
        bounds=(0.0, 1.0),
        negligible=negligible,
        undefined=undefined,
    )


def area_metric(
    name: str,
    title: str,
    per_row: PerRow,
    *,
    parts: Parts,
    undefined: Callable[[Targets], str | None],
) -> Metric:
    """A `share_metric` that is a mean of areas under ROC curves, of which NEGLIGIBLE_AREA counts as nothing.

    Args:
        parts: targets -> of each area, which number of an answer ranks the rows, and which rows are to be ranked high,
            bool (rows,). What limits the evidence is the rarer side of the rarest.
    """
    return share_metric(
        name,
        title,
        per_row,
        effective_rows=lambda targets: min((_rarer_side(belongs) for _, belongs in parts(targets)), default=0),
        widths=lambda targets, models: _area_widths(parts(targets), models),
        negligible=NEGLIGIBLE_AREA,
        undefined=undefined,
    )


def auc_against_rest(
    name: str,
    label: str,
    index: int,
    belongs: Callable[[Targets], NDArray[np.bool_]],
    *,
    are: str,
) -> Metric:
    """ROC AUC of one class, or one label, against the rest: `roc_auc.<label>`.

    Args:
        name: the label as part of a metric's name, see `safe_names`.
        index: of its probability among the answers' numbers.
        belongs: targets -> whether each row is of it, bool (rows,).
        are: "rows are of class", "rows have the label", as a sentence goes on behind their number.
    """

    def undefined(targets: Targets) -> str | None:
        there = int(belongs(targets).sum())
        return None if 0 < there < len(targets) else f"{there:,} of {len(targets):,} {are} {label!r}"

    return area_metric(
        f"roc_auc.{name}",
        f"ROC AUC of {label}",
        lambda targets, answers: auc_rows(belongs(targets), answers[:, index]),
        parts=lambda targets: [(index, belongs(targets))],
        undefined=undefined,
    )


def safe_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Each label as part of a metric's name, what MLflow takes in one; of labels that would come out alike, all but
    the first have their number, from 1, behind it.
    """
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", label)[:80] for label in labels]
    # A label that needs no change keeps its name whatever comes before it.
    taken = {name for name, label in zip(plain, labels, strict=True) if name == label}
    found = []
    for number, (name, label) in enumerate(zip(plain, labels, strict=True), start=1):
        while name in taken and name != label:
            name = f"{name[:70]}_{number}"
        taken.add(name)
        found.append(name)
    return tuple(found)


def worst_by_outcome(losses: PerRow) -> Callable[[Targets, Answers], float]:
    """What a row of 0 or 1 costs whose outcome is the other one: as bad as one that was not seen can be expected."""
    return lambda targets, answers: float(
        np.maximum(losses(targets, answers), losses(1 - np.asarray(targets), answers)).max()
    )


def worst_by_class(counts: Callable[[Targets], NDArray[Any]]) -> Callable[[Targets, Answers], float]:
    """What a row may cost a mean over classes, of which a rare one may have a kind of rows that was not seen.

    Twenty rows of a class that are all right say little of that class, however many rows there are of the others.

    Args:
        counts: targets -> rows of each class that is there.
    """

    def worst(targets: Targets, answers: Answers) -> float:
        unseen = [unseen_share(int(count)) for count in counts(targets) if count]
        return float(np.hypot.reduce(unseen, initial=0.0)) / max(len(unseen), 1) / unseen_share(len(targets))

    return worst


def _rarer_side(belongs: NDArray[np.bool_]) -> int:
    return min(int(belongs.sum()), int((~belongs).sum()))


def _area_widths(parts: Iterable[tuple[int, NDArray[np.bool_]]], models: tuple[Answers, ...]) -> tuple[float, float]:
    """How far below and above their mean the limits of these areas lie, or of their differences: squares are added.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures", Statistics in Medicine
    27:1693-1702, of areas whose errors have nothing to do with each other.
    """
    found = [auc_interval(belongs.astype(np.int8), *(column(one, index) for one in models)) for index, belongs in parts]
    most = float(len(models))  # an area is off by 1 at most, a difference of two by 2
    downs = [min(each.value - each.low, most) for each in found]
    ups = [min(each.high - each.value, most) for each in found]
    return float(np.hypot.reduce(downs)) / len(found), float(np.hypot.reduce(ups)) / len(found)


def column(answers: Answers, index: int) -> NDArray[np.float64]:
    """One number of each answer, float64 (rows,), whether answers have one number or several."""
    values = np.asarray(answers)
    return np.asarray(values if values.ndim == 1 else values[:, index], dtype=np.float64)


def ratio_rows(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pseudo-values of mean(above) / mean(below), (rows,): such are precision, recall and F1. Zeros where `below` is 0.

    The influence of a row on a ratio of means R is (above - R below) / mean(below).
    """
    base = float(below.mean())
    if base == 0.0:
        return np.zeros(len(above))
    ratio = float(above.mean()) / base
    return np.asarray(ratio + (above - ratio * below) / base, dtype=np.float64)


def auc_rows(positive: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.float64]:
    """Pseudo-values of ROC AUC, (rows,): its value plus each row's placement about it, by the share of its class.

    Their spread is DeLong's standard error but for the rows less one. Source: DeLong et al. 1988; Sun & Xu 2014.
    """
    won, lost = wins(positive, np.asarray(scores))
    if not len(won) or not len(lost):
        raise ValueError(f"ROC AUC needs both classes, got {len(won)} positive and {len(lost)} negative rows")
    value, share = float(won.sum()) / (len(won) * len(lost)), float(positive.mean())
    rows = np.empty(len(positive))
    rows[positive] = value + (won / len(lost) - value) / share
    rows[~positive] = value + (1 - lost / len(won) - value) / (1 - share)
    return rows
