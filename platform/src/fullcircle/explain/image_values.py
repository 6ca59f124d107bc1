"""SHAP values of images: how much each patch of pixels moved the answer.

The scorer is the graph as it is served. A hidden patch takes the pixels of each background image, one after the other,
so what is compared with are real images and not grey squares. Method as in `shap_values`: permutation SHAP, whose
values add up exactly: base + sum of an image's values = its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Image, Project
from fullcircle.core.records.training import Scorer
from fullcircle.core.row_tensors import flat_images, identities, pixels
from fullcircle.explain.explained_answers import ExplainedAnswers, of_given
from fullcircle.explain.shap_values import PERMUTATIONS, permutation_shap, sampled

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SIDES = range(14, 3, -1)
"""Patches along a side, the finest first; a small image has one a pixel."""

BACKGROUND_IMAGES = 32
"""Images that stand for "this patch unknown"."""

PIXELS_SCORED = 300_000_000
"""About how many pixels the graph is shown in all, which bounds the time: large images get coarser patches."""

EXPLAINED = 12
"""Images that are explained: four of either end of the task's scale of answers, and four of its middle."""

SCORED = 2_000
"""Images among which those are looked for."""


@dataclass(frozen=True, kw_only=True)
class ImageExplanation:
    """Why images got the answers that they were given: of several classes, the likeliest.

    Probabilities are from 0 to 1: 0.07 is seven percentage points. Other answers, and what moved them, are in the unit
    of the target.

    Attributes:
        images: float32 (images, height, width, channels), as they were sent.
        values: SHAP values, float64 (images, patches down, patches across); base + values.sum() = answer.
        patch: height and width of a patch in pixels; those at the lower and right edge may be smaller.
        base: mean answer to the background images, of the class that an image was given, float64 (images,).
        answers: the answer that each image was given, float64 (images,).
        given: which of the explained numbers that is, (images,).
        right: whether it is right, bool (images,); None where answers are more or less right.
        labels: what turned out to be true, targets of the task.
        row_ids: ids of the images.
        explained: which numbers of an answer are explained.
    """

    column: Image
    images: NDArray[np.float32]
    values: NDArray[np.float64]
    patch: tuple[int, int]
    base: NDArray[np.float64]
    answers: NDArray[np.float64]
    given: NDArray[np.intp]
    right: NDArray[np.bool_] | None
    labels: NDArray[Any]
    row_ids: tuple[str, ...]
    explained: ExplainedAnswers

    @property
    def parts(self) -> tuple[str, ...]:
        """The class that each image was given; empty where an answer is one number."""
        parts = self.explained.parts
        return tuple(parts[index] for index in self.given)

    def heat(self) -> NDArray[np.float64]:
        """The values spread over their pixels, (images, height, width): a patch's value at each of its pixels."""
        height, width, _ = self.column.shape
        return self.values.repeat(self.patch[0], axis=1).repeat(self.patch[1], axis=2)[:, :height, :width]


def explain_images(
    score: Scorer, project: Project, background: pd.DataFrame, rows: pd.DataFrame, *, seed: int = 0
) -> ImageExplanation:
    """Explain the images that say most about a model: those at either end of its answers and those in the middle.

    Args:
        score: answers raw rows; the loaded graph.
        background: rows of the model's own training data; `BACKGROUND_IMAGES` of them are used.
        rows: raw rows with row id and target; `EXPLAINED` of them are explained, the surest first.

    Raises:
        DataUnavailable: no rows, or no background.
    """
    column, task = project.inputs[0], project.target
    assert isinstance(column, Image), "the caller asks only of image projects"
    if len(background) == 0 or len(rows) == 0:
        raise DataUnavailable(f"project {project.name!r}: no images to explain, or none to compare them with")
    candidates = sampled(rows, SCORED, seed)
    answers = score(candidates)
    chosen = _telling(task.scalar(answers), task.from_middle(answers))
    shown, answers = candidates.iloc[chosen], answers[chosen]
    explained, labels = ExplainedAnswers.among(task, answers), task.targets(shown)
    told = explained.of(answers)
    images, given = pixels(shown[column.name], column), explained.given(told)
    patches = _Patches(column, pixels(sampled(background, BACKGROUND_IMAGES, seed)[column.name], column))
    values, base = permutation_shap(
        lambda x: explained.of(_scored(score, column, x)), images.astype(np.float64), patches, patches.background, seed
    )
    return ImageExplanation(
        column=column,
        images=images.reshape(-1, *column.shape),
        values=(values if told.ndim == 1 else of_given(values, given)).reshape(-1, *patches.grid),
        patch=patches.patch,
        base=np.atleast_1d(base)[given],
        answers=told if told.ndim == 1 else of_given(told, given),
        given=given,
        right=task.right(labels, answers),
        labels=labels,
        row_ids=tuple(identities(shown[project.row_id])),
        explained=explained,
    )


class _Patches:
    """A shap masker whose features are patches of the image, all channels of them together.

    Hidden patches take each background image's pixels, so a mask becomes as many rows as there are background images.
    """

    def __init__(self, column: Image, background: NDArray[np.float32]) -> None:
        height, width, channels = column.shape
        self.background = background.astype(np.float64)
        side = _affordable_side(column)
        self.patch = (-(-height // side), -(-width // side))
        self.grid = (-(-height // self.patch[0]), -(-width // self.patch[1]))
        down, across = np.arange(height) // self.patch[0], np.arange(width) // self.patch[1]
        of_pixel = down[:, None] * self.grid[1] + across[None, :]
        self._patch_of = np.repeat(of_pixel.reshape(-1), channels)
        self._patches = self.grid[0] * self.grid[1]

    def __call__(self, mask: NDArray[np.bool_], row: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        return (np.where(mask[self._patch_of], row, self.background),)

    def shape(self, row: NDArray[np.float64]) -> tuple[int, int]:
        return len(self.background), self._patches

    def mask_shapes(self, row: NDArray[np.float64]) -> list[tuple[int]]:
        """What shap asks where there are fewer features than values in a row."""
        return [(self._patches,)]


def _affordable_side(column: Image) -> int:
    """The finest patches that stay within `PIXELS_SCORED`; the coarsest of all where none do."""
    height, width, _ = column.shape
    for side in SIDES:
        patches = min(side, height) * min(side, width)
        rows = EXPLAINED * BACKGROUND_IMAGES * PERMUTATIONS * (2 * patches + 1)
        if rows * column.values <= PIXELS_SCORED:
            return side
    return SIDES[-1]


def _telling(scale: NDArray[np.float64], from_middle: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the highest answers on the task's scale, of the middle and of the lowest, in this order; all of few."""
    order = np.argsort(-scale, kind="stable")
    if len(order) <= EXPLAINED:
        return order
    third = EXPLAINED // 3
    central = np.argsort(from_middle, kind="stable")
    ends = {*order[:third].tolist(), *order[-third:].tolist()}
    middle = [place for place in central.tolist() if place not in ends][:third]
    chosen = {*ends, *middle}
    return np.array([place for place in order.tolist() if place in chosen], dtype=np.intp)


def _scored(score: Scorer, column: Image, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    import pandas as pd

    return score(pd.DataFrame({column.name: flat_images(matrix.astype(np.float32))}))
