"""Drift of the predictions: one verdict from the numbers of an answer, with the false alarms of one column.

Each number of an answer is held against its own null distribution, as `drift` does. Several are judged together by the
largest distance over its threshold; the same resampled pairs say how large that gets when nothing has changed, so the
false alarms of all of them together hold, however they hang together (and probabilities add up to 1). Source: Westfall
and Young 1993, "Resampling-Based Multiple Testing" (maxT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.health import ColumnDrift
from fullcircle.monitoring.drift_metrics import WASSERSTEIN, Resamples, null_wasserstein, wasserstein
from fullcircle.monitoring.samples import POOL, ROWS, n_resamples, null_quantile, numbers, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint

PREDICTION = "prediction"
"""What the only number of an answer is called."""
MOST_NUMBERS = 32
"""Numbers that are looked at one by one: those that vary most in the reference. Of the others it is their sum."""
OTHERS = "all others"


def prediction_drift(
    current: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    names: Sequence[str] = (PREDICTION,),
    false_alarms: float = 0.01,
    seed: int = 0,
) -> ColumnDrift | None:
    """The drift of the champion's answers: the number furthest over (or nearest to) its threshold.

    Args:
        current, reference: answers, (rows,) or (rows, numbers), NaN where there is none.
        names: of the numbers.

    None when a side has no answers.
    """
    found = number_drifts(*answer_frames(current, reference, names), false_alarms, seed=seed)
    return max(found, key=lambda drift: drift.distance / drift.threshold) if found else None


def answer_frames(
    current: NDArray[np.float32], reference: NDArray[np.float32], names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides as frames, a column for each number that is looked at; a number that a side never has is left out."""
    import pandas as pd

    if len(names) == 1:
        names = (PREDICTION,)
    now, before = (pd.DataFrame(side.reshape(-1, len(names)), columns=list(names)) for side in (current, reference))
    now, before = (side.where(np.isfinite(side)) for side in (now, before))
    both = [name for name in names if now[name].notna().any() and before[name].notna().any()]
    now, before = now[both], before[both]
    if len(both) > MOST_NUMBERS:
        # By the reference alone: chosen by the window, what differs by chance would be chosen, too.
        varied = before.std().fillna(0.0).sort_values(ascending=False, kind="stable").index
        kept = set(varied[: MOST_NUMBERS - 1])
        now, before = (_summed(side, kept) for side in (now, before))
    return now.dropna(how="all"), before.dropna(how="all")


def number_drifts(
    now: pd.DataFrame, before: pd.DataFrame, false_alarms: float, *, seed: int
) -> tuple[ColumnDrift, ...]:
    """The drift of each column, by thresholds that any of them exceeds in `false_alarms` of the cases at most.

    Frames as `answer_frames` makes them. None when a side has no rows.
    """
    if now.empty or before.empty:
        return ()
    held, pool, now = sample(before, ROWS, seed), sample(before, POOL, seed), sample(now, ROWS, seed)
    draws = Resamples.of(len(pool), len(held), len(now), n_resamples=n_resamples(false_alarms), seed=seed)
    values = {name: _known(held, name) for name in now.columns if len(_known(held, name)) and len(_known(now, name))}
    null = [null_wasserstein(numbers(pool, name), values[name], draws) for name in values]
    return tuple(
        ColumnDrift(
            column=name,
            method=WASSERSTEIN,
            distance=wasserstein(values[name], _known(now, name)),
            threshold=threshold,
        )
        for name, threshold in zip(values, joint_thresholds(null, false_alarms), strict=True)
    )


def fingerprint_prediction_drift(
    seen: LogFingerprint,
    reference: NDArray[np.float32],
    *,
    names: Sequence[str],
    false_alarms: float = 0.01,
    seed: int = 0,
) -> ColumnDrift | None:
    """As `prediction_drift`, of a large window by its fingerprint, for answers of up to `MOST_NUMBERS` numbers.

    Each distance is within the sketch's error (`NumberSummary.rank_error`) of that of all rows; thresholds are those of
    a sample of `ROWS` rows, whose own error is larger.
    """
    called = (PREDICTION,) if len(names) == 1 else tuple(names)
    before = answer_frames(reference, reference, called)[1]
    held, pool = sample(before, ROWS, seed), sample(before, POOL, seed)
    if before.empty:
        return None
    draws = Resamples.of(len(pool), len(held), ROWS, n_resamples=n_resamples(false_alarms), seed=seed)
    answered = {shown: seen.answers[name] for shown, name in zip(called, names, strict=True) if name in seen.answers}
    values = {
        name: _known(held, name)
        for name, summary in answered.items()
        if name in held and len(_known(held, name)) and summary.values
    }
    null = [null_wasserstein(numbers(pool, name), values[name], draws) for name in values]
    found = [
        ColumnDrift(
            column=name,
            method=WASSERSTEIN,
            distance=wasserstein(values[name], *answered[name].points()),
            threshold=threshold,
        )
        for name, threshold in zip(values, joint_thresholds(null, false_alarms), strict=True)
    ]
    return max(found, key=lambda drift: drift.distance / drift.threshold) if found else None


def joint_thresholds(null: Sequence[NDArray[np.float64]], false_alarms: float) -> list[float]:
    """A threshold for each null distribution, (resamples,) each: in `false_alarms` of the draws any one is exceeded."""
    alone = [null_quantile(distances, false_alarms) for distances in null]
    if len(null) < 2:
        return alone
    largest = np.max([distances / scale for distances, scale in zip(null, alone, strict=True)], axis=0)
    together = null_quantile(largest, false_alarms)
    return [together * scale for scale in alone]


def _known(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = numbers(frame, name)
    return values[~np.isnan(values)]


def _summed(side: pd.DataFrame, kept: set[str]) -> pd.DataFrame:
    rest = [name for name in side.columns if name not in kept]
    return side[[name for name in side.columns if name in kept]].assign(**{OTHERS: side[rest].sum(axis=1, min_count=1)})
