"""An embedding of images as a few numbers each, fitted on the reference alone: their drift is then that of numbers.

An image becomes its brightness, contrast and edge energy, its weights on the reference's principal components, and how
much the components leave over. That needs no model and no labels. To reduce the dimensions first and then test each
with a test of one variable is among the strongest ways to notice a shift, and PCA among the stronger reductions:
Rabanser, Günnemann and Lipton 2019, "Failing Loudly: An Empirical Study of Methods for Detecting Dataset Shift".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Image
from fullcircle.core.row_tensors import pixels

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COMPONENTS = 16
"""Most principal components. The rest is in what they leave over."""
FIT_ROWS = 1_000
"""Most reference images that components are fitted on."""
GRID = 32
"""Larger images are averaged in blocks, to this many rows and columns at most, before components are fitted."""
CHUNK_VALUES = 1 << 22
"""Most pixels looked at at a time: 32 MB."""

BRIGHTNESS, CONTRAST, EDGES, REST = "brightness", "contrast", "edges", "rest"
LEAST_SPREAD = 1e-9
"""A part of the embedding with a smaller standard deviation, in the image's own range, is constant."""


@dataclass(frozen=True)
class Embedding:
    """What was fitted on reference images.

    Attributes:
        mean: float64 (grid pixels,). components: float64 (components, grid pixels), orthonormal rows.
    """

    column: Image
    mean: Floats
    components: Floats

    @classmethod
    def fit(cls, column: Image, images: pd.Series[Any]) -> Embedding:
        """Principal components of at most `FIT_ROWS` images, none of them missing, at least one."""
        step = -(-len(images) // FIT_ROWS)
        grid = np.concatenate([_grid(part) for part in _chunks(column, images.iloc[::step])])
        mean = grid.mean(axis=0)
        _, spread, directions = np.linalg.svd(grid - mean, full_matrices=False)
        # One component fewer than images: of as many, the last would only describe their mean.
        kept = min(COMPONENTS, len(grid) - 1, int((spread > LEAST_SPREAD * np.sqrt(len(grid))).sum()))
        return cls(column, mean, directions[:kept])

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the numbers: what everyone understands first, then `component 1` and so on."""
        return (BRIGHTNESS, CONTRAST, EDGES, REST, *(f"component {n + 1}" for n in range(len(self.components))))

    def of(self, images: pd.Series[Any]) -> Floats:
        """The numbers of images, float64 (rows, parts); pixels count from 0 to 1 over the column's range."""
        found = [self._of(part) for part in _chunks(self.column, images)]
        return np.concatenate(found) if found else np.empty((0, len(self.parts)))

    def _of(self, images: Floats) -> Floats:
        centred = _grid(images) - self.mean
        weights = centred @ self.components.T
        rest = centred - weights @ self.components
        simple = [images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)), _edges(images)]
        return np.column_stack([*simple, np.sqrt((rest**2).mean(axis=1)), weights])


def is_there(column: Image, images: pd.Series[Any]) -> NDArray[np.bool_]:
    """Which rows have an image: every pixel is a finite number. Shape: (rows,)."""
    found = [np.isfinite(part).all(axis=(1, 2, 3)) for part in _chunks(column, images)]
    return np.concatenate(found) if found else np.empty(0, dtype=bool)


def _chunks(column: Image, images: pd.Series[Any]) -> Iterator[Floats]:
    """The images in parts, float64 (rows, height, width, channels), the column's range brought to 0 to 1."""
    rows = max(1, CHUNK_VALUES // column.values)
    for start in range(0, len(images), rows):
        raw = pixels(images.iloc[start : start + rows], column).astype(np.float64)
        yield ((raw - column.low) / (column.high - column.low)).reshape(-1, *column.shape)


def _grid(images: Floats) -> Floats:
    """Averaged in blocks to `GRID` x `GRID` at most, and flat: (rows, grid pixels)."""
    for axis in (1, 2):
        length = images.shape[axis]
        starts = np.arange(0, length, -(-length // GRID))
        sizes = np.diff([*starts, length])
        images = np.add.reduceat(images, starts, axis=axis) / sizes.reshape([-1 if a == axis else 1 for a in range(4)])
    return images.reshape(len(images), -1)


def _edges(images: Floats) -> Floats:
    """Mean absolute difference of neighbouring pixels, down and across. Shape: (rows,)."""
    steps = [np.abs(np.diff(images, axis=axis)).reshape(len(images), -1) for axis in (1, 2)]
    means = [step.mean(axis=1) if step.size else np.zeros(len(images)) for step in steps]
    return np.asarray((means[0] + means[1]) / 2, dtype=np.float64)
