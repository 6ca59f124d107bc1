"""Pictures that people can open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Project, Task
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.evaluation.curve_plots import reliability_plot
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.plots import comparison_plot


@pytest.mark.parametrize("plot", [reliability_plot, comparison_plot])
@pytest.mark.parametrize("labels", [["torch"], ["logistic baseline", "torch", "champion v3"], ["$x^{$"]])
def test_a_plot_is_a_png_of_some_size(
    project: Project,
    make_rows: Callable[..., tuple[pd.DataFrame, np.ndarray]],
    noisy: Callable[..., np.ndarray],
    tmp_path: Path,
    plot: Callable[[Task, dict[str, Evaluation], Path], Path],
    labels: list[str],
) -> None:
    from matplotlib.image import imread

    frame, truth = make_rows(600)
    found = {label: evaluate(project, label, frame, noisy(truth, 0.4 * i)) for i, label in enumerate(labels)}
    path = plot(project.target, found, tmp_path / "plots" / "picture.png")
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 10
