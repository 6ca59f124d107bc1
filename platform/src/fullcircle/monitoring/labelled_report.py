"""The section of a window's Evidently report on rows whose labels are known: how well the answers did.

Evidently knows a number, two classes and several classes. Of several labels at once it gets each label of each row as
one decision, which is what the micro average is of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.monitoring.prediction_drift import OTHERS, PREDICTION

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Task

LABEL = "label"
"""Name of the target column in the report."""
MOST_CLASSES = 20
"""Classes in a confusion matrix, the most frequent first; the others are one together."""
MOST_DECISIONS = 50_000
Naming = Callable[[Iterable[str]], Mapping[str, str]]
"""Texts from outside -> text: how each is shown."""


def labelled_snapshot(task: Task, rows: pd.DataFrame, naming: Naming) -> Any:
    """What Evidently makes of the labelled rows; None where they are all alike.

    A run of its own: the reference has no labels, and late labels are few.
    """
    labels, answers = task.label_codec.known_labels(rows["label"]), task.answers.of_some(rows)
    known = _known(labels) & _known(answers)
    if not known.any():
        return None
    y, a = task.label_codec.logged(labels[known]), answers[known].astype(np.float64)
    return QUALITY_REPORTS[task.quality_report](task, y, a, naming) if len(np.unique(y)) > 1 else None


def _known(values: NDArray[Any]) -> NDArray[np.bool_]:
    found = ~np.isnan(values)
    return found if found.ndim == 1 else np.asarray(found.all(axis=1))


def _decisions(task: Task, y: NDArray[Any], a: NDArray[np.float64], naming: Naming) -> Any:
    from evidently import BinaryClassification, DataDefinition
    from evidently.presets import ClassificationQuality

    columns = {LABEL: y.astype(int).reshape(-1)[:MOST_DECISIONS], PREDICTION: a.reshape(-1)[:MOST_DECISIONS]}
    definition = DataDefinition(
        classification=[BinaryClassification(target=LABEL, prediction_probas=PREDICTION, pos_label=1)],
        categorical_columns=[LABEL],
        numerical_columns=[PREDICTION],
    )
    return _run(columns, definition, ClassificationQuality())


def _classes(task: Task, y: NDArray[Any], a: NDArray[np.float64], naming: Naming) -> Any:
    from evidently import DataDefinition, MulticlassClassification
    from evidently.presets import ClassificationQuality

    (names,) = (column.choices for column in task.answers.columns if not column.is_number)
    said = np.argmax(a, axis=1)
    counts = np.bincount(y, minlength=len(names))
    shown = set(np.argsort(-counts, kind="stable")[: MOST_CLASSES - (len(names) > MOST_CLASSES)].tolist())
    called = naming([*names, OTHERS])
    words = np.array([called[name if code in shown else OTHERS] for code, name in enumerate(names)], dtype=object)
    definition = DataDefinition(
        classification=[MulticlassClassification(target=LABEL, prediction_labels=PREDICTION)],
        categorical_columns=[LABEL, PREDICTION],
    )
    return _run({LABEL: words[y], PREDICTION: words[said]}, definition, ClassificationQuality(conf_matrix=True))


def _numbers(task: Task, y: NDArray[Any], a: NDArray[np.float64], naming: Naming) -> Any:
    from evidently import DataDefinition, Regression
    from evidently.presets import RegressionQuality

    definition = DataDefinition(
        regression=[Regression(target=LABEL, prediction=PREDICTION)], numerical_columns=[LABEL, PREDICTION]
    )
    quality = RegressionQuality(pred_actual_plot=True, error_distr=True)
    return _run({LABEL: y, PREDICTION: task.scalar(a.astype(np.float32))}, definition, quality)


QUALITY_REPORTS = {"decisions": _decisions, "classes": _classes, "numbers": _numbers}
"""`Task.quality_report` -> its section: `(task, targets, answers, naming)` -> an Evidently snapshot."""


def _run(columns: Mapping[str, NDArray[Any]], definition: Any, preset: Any) -> Any:
    import pandas as pd
    from evidently import Dataset, Report

    return Report([preset]).run(Dataset.from_pandas(pd.DataFrame(columns), data_definition=definition), None)
