"""A split's rows as the arrays that both frameworks learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.dataset import SplitFrames
from fullcircle.core.models import Arrays, Preprocessor
from fullcircle.core.project import Project

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def arrays(project: Project, preprocessor: Preprocessor, frames: SplitFrames) -> Arrays:
    """Training and validation rows as float32 arrays; the test rows stay raw, for the graph alone.

    Memory: 4 bytes x rows x features.
    """
    return Arrays(
        x_train=preprocessor.transform(frames.train),
        y_train=labels(project, frames.train),
        x_validation=preprocessor.transform(frames.validation),
        y_validation=labels(project, frames.validation),
    )


def labels(project: Project, frame: pd.DataFrame) -> NDArray[np.float32]:
    """The target, float32 (rows,), 0 or 1."""
    return frame[project.target.name].to_numpy().astype(np.float32)
