"""Drift of an image column: one verdict from the numbers of its embedding, with the false alarms of one column.

Each part of the embedding has a distance and a null distribution of its own, resampled from the reference as `drift`
does. The parts are judged together by their largest distance, each in units of its own null distribution; the same
resampled pairs say how large that maximum gets when nothing has changed. So the false alarms of the whole column hold,
however the parts hang together. Source: Westfall and Young 1993, "Resampling-Based Multiple Testing" (maxT).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Image, Number, Project
from fullcircle.core.records.health import ColumnDrift, Health
from fullcircle.monitoring.drift_metrics import WASSERSTEIN, Resamples, null_wasserstein, wasserstein
from fullcircle.monitoring.image_embedding import LEAST_SPREAD, Embedding, is_there
from fullcircle.monitoring.samples import POOL, ROWS, n_resamples, null_quantile, numbers, sample

if TYPE_CHECKING:
    import pandas as pd

LEAST_REFERENCE = 20
"""Below this many reference images there is nothing to fit and hold against."""


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Both sides as numbers, a column a part: the window, and the reference images that nothing was fitted on."""

    parts: tuple[str, ...]
    now: pd.DataFrame
    before: pd.DataFrame
    pool: pd.DataFrame


def embed(column: Image, current: pd.DataFrame, reference: pd.DataFrame, *, seed: int) -> Embedded | None:
    """The images as numbers, by components of half of the reference; None when a side has too few images.

    Half, because images look nearer to components that were fitted on them than any other image does.
    """
    import pandas as pd

    usual = reference[is_there(column, reference[column.name])]
    if len(usual) < LEAST_REFERENCE:
        return None
    shuffled = np.random.default_rng(seed).permutation(len(usual))
    fitted, held = (usual.iloc[np.sort(part)] for part in np.array_split(shuffled, 2))
    embedding = Embedding.fit(column, fitted[column.name])
    now = sample(current, ROWS, seed)
    now = now[is_there(column, now[column.name])]
    if now.empty:
        return None
    sides = [
        pd.DataFrame(embedding.of(side[column.name]), columns=list(embedding.parts), index=side.index)
        for side in (now, sample(held, POOL, seed))
    ]
    kept = tuple(name for name in embedding.parts if sides[1][name].std() > LEAST_SPREAD)
    return Embedded(parts=kept, now=sides[0], before=sample(sides[1], ROWS, seed), pool=sides[1])


def part_drift(embedded: Embedded, false_alarms: float, *, seed: int) -> tuple[ColumnDrift, ...]:
    """The drift of each part, by thresholds that any part of an unchanged column exceeds in `false_alarms` at most."""
    pool, before, now = embedded.pool, embedded.before, embedded.now
    draws = Resamples.of(len(pool), len(before), len(now), n_resamples=n_resamples(false_alarms), seed=seed)
    null = np.stack(
        [null_wasserstein(numbers(pool, part), numbers(before, part), draws) for part in embedded.parts], axis=1
    )
    scales = np.array([null_quantile(column, false_alarms) for column in null.T])
    together = null_quantile((null / scales).max(axis=1), false_alarms)
    return tuple(
        ColumnDrift(
            column=part,
            method=WASSERSTEIN,
            distance=wasserstein(numbers(before, part), numbers(now, part)),
            threshold=together * scale,
        )
        for part, scale in zip(embedded.parts, scales.tolist(), strict=True)
    )


def image_drift(
    column: Image, current: pd.DataFrame, reference: pd.DataFrame, false_alarms: float, *, seed: int
) -> ColumnDrift | None:
    """One verdict for the column: its part furthest over (or nearest to) its threshold, which `method` names.

    None when a side has too few images, or all images of the reference are the same.
    """
    embedded = embed(column, current, reference, seed=seed)
    if embedded is None or not embedded.parts:
        return None
    worst = max(part_drift(embedded, false_alarms, seed=seed), key=lambda part: part.distance / part.threshold)
    return dataclasses.replace(worst, column=column.name, method=f"embedding, {worst.column}")


def as_numbers(
    project: Project, health: Health, current: pd.DataFrame, reference: pd.DataFrame, *, seed: int
) -> tuple[Project, Health, pd.DataFrame, pd.DataFrame]:
    """An image project as a report sees it: a number for each part of the embedding, with the verdict's thresholds.

    Any other project, and one whose images say nothing, comes back as it is. One part over its threshold is the whole
    column's drift, so the share from which the window counts as drifted is that of one part.
    """
    column = project.inputs[0]
    embedded = embed(column, current, reference, seed=seed) if isinstance(column, Image) else None
    if embedded is None or not embedded.parts:
        return project, health, current, reference
    names = {part: f"{column.name} {part}" for part in embedded.parts}
    drifts = part_drift(embedded, project.watch.false_alarms, seed=seed)
    seen = dataclasses.replace(
        health,
        columns=tuple(dataclasses.replace(drift, column=names[drift.column]) for drift in drifts),
        drifted_share_limit=0.5 / len(drifts),
    )
    answers = [name for name in project.target.answers.numbers if name in reference]
    others = [name for name in (*project.target.answers.numbers, "label") if name in current]
    return (
        dataclasses.replace(project, columns=tuple(Number(name) for name in names.values())),
        seen,
        embedded.now.rename(columns=names).join(current[others]),
        embedded.before.rename(columns=names).join(reference[answers]),
    )
