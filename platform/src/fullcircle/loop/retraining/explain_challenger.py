"""Logs a challenger's explanations (SHAP of raw columns, or of image patches) with its run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.records.training import Scorer
from fullcircle.explain.heat_maps import heat_maps
from fullcircle.explain.image_values import explain_images
from fullcircle.explain.plots import summary_plot, waterfall
from fullcircle.explain.shap_values import explain
from fullcircle.loop import progress

if TYPE_CHECKING:
    import pandas as pd

    from fullcircle.core.records.dataset import SplitFrames
    from fullcircle.explain.image_values import ImageExplanation
    from fullcircle.explain.shap_values import Explanation
    from fullcircle.tracking.runs.run_writer import RunWriter

BACKGROUND_ROWS = 1000
"""Training rows among which the explainers choose their background."""

ANSWER = "answer"
"""Column of the kept values that says which number of an answer they are of, where it has several."""

SUMMARY, FOLDER = "shap_summary.png", "explanation"
"""The one picture that reports show, whatever the columns are; and the run's folder of artifacts."""


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """One challenger's graph, the rows it is explained on, and where the files go."""

    project: Project
    score: Scorer
    frames: SplitFrames
    seed: int
    folder: Path
    run: RunWriter

    def background(self) -> pd.DataFrame:
        """Some of the training rows."""
        train = self.frames.train
        return train.sample(min(BACKGROUND_ROWS, len(train)), random_state=self.seed)

    def keep(self, name: str, write: Callable[[Path], object]) -> Path:
        """Have a file written and keep it with the run."""
        write(self.folder / name)
        self.run.file(self.folder / name, FOLDER)
        return self.folder / name


def explain_graph(asked: ExplainRequest) -> Path:
    """Explain a graph by the kind of its inputs. Returns the path of the summary."""
    return EXPLAINERS[asked.project.inputs[0].kind](asked)


def _columns(asked: ExplainRequest) -> Path:
    """SHAP values of raw columns: a summary, two waterfalls, the values, and each column's mean effect."""
    explanation = explain(asked.score, asked.project, asked.background(), asked.frames.test, seed=asked.seed)
    summary = asked.keep(SUMMARY, lambda path: summary_plot(explanation, path))
    total = explanation.given_values.sum(axis=1)
    highest, lowest = int(total.argmax()), int(total.argmin())
    asked.keep("waterfall_highest.png", lambda path: waterfall(explanation, highest, path))
    asked.keep("waterfall_lowest.png", lambda path: waterfall(explanation, lowest, path))
    ranked = explanation.importance()
    asked.run.json(dict(ranked), f"{FOLDER}/mean_abs_shap.json")
    asked.keep("shap_values.parquet", lambda path: _column_table(explanation).to_parquet(path))
    progress.current().stage("explain", f"strongest: {', '.join(name for name, _ in ranked[:3])}")
    return summary


def _images(asked: ExplainRequest) -> Path:
    """SHAP values of patches of images: one picture of heat maps, and the values."""
    explanation = explain_images(asked.score, asked.project, asked.background(), asked.frames.test, seed=asked.seed)
    summary = asked.keep(SUMMARY, lambda path: heat_maps(explanation, path))
    asked.keep("shap_values.parquet", lambda path: _patch_table(explanation).to_parquet(path))
    down, across = explanation.values.shape[1:]
    progress.current().stage("explain", f"{len(explanation.images)} images, {down} x {across} patches each")
    return summary


EXPLAINERS: dict[str, Callable[[ExplainRequest], Path]] = {"number": _columns, "category": _columns, "image": _images}
"""How a graph is explained, by the kind of its first input: an image is the only one there is."""


def _column_table(explanation: Explanation) -> pd.DataFrame:
    """One row an explained row; where an answer is several numbers, one row for each of them, which says its name."""
    import numpy as np
    import pandas as pd

    several = explanation.values.ndim == 3
    values = explanation.values.transpose(0, 2, 1) if several else explanation.values[:, None, :]
    rows, answers, columns = values.shape
    table = pd.DataFrame(values.reshape(-1, columns), columns=list(explanation.columns))
    if several:
        names = np.array(explanation.explained.names, dtype=object)
        table.insert(0, _free_name(ANSWER, explanation.columns), np.tile(names, rows))
    table.insert(0, "row_id", np.array(explanation.row_ids, dtype=object).repeat(answers))
    return table


def _free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a line before it where a raw column has it already."""
    return name if name not in taken else _free_name(f"_{name}", taken)


def _patch_table(explanation: ImageExplanation) -> pd.DataFrame:
    """One row a patch of an image: where it begins in pixels, and its value."""
    import numpy as np
    import pandas as pd

    images, down, across = explanation.values.shape
    image, y, x = (places.reshape(-1) for places in np.indices((images, down, across)))
    names, answer = explanation.explained.names, {}
    if len(names) > 1:
        answer[ANSWER] = np.array(names, dtype=object)[explanation.given][image]
    return pd.DataFrame(
        {
            "row_id": np.asarray(explanation.row_ids, dtype=object)[image],
            **answer,
            "y": y * explanation.patch[0],
            "x": x * explanation.patch[1],
            "value": explanation.values.reshape(-1),
        }
    )
