"""Evaluates a model on the validation rows after each epoch, each rank a part of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.training import Arrays
from fullcircle.core.tasks import Link, Task, Weighting
from fullcircle.training.links import answers
from fullcircle.training.ports import ProcessGroup, TrainEngine
from fullcircle.training.training_loop.validation_losses import mean_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 16_384
"""Rows that are answered at a time."""

MOST_VALUES = 2**22
"""Raw outputs that are summed over the ranks at a time, as float64."""


class Validation:
    """Judges a model on the validation rows, each rank a part of them."""

    def __init__(
        self,
        arrays: Arrays,
        task: Task,
        weighting: Weighting,
        link: Link,
        engine: TrainEngine,
        process_group: ProcessGroup,
    ) -> None:
        self._arrays, self._engine, self._process_group = arrays, engine, process_group
        self._task, self._link = task, link
        targets = np.asarray(arrays.y_validation)
        self._row_weights, self._training_targets = weighting.rows(targets), task.training_targets(targets, link)

    def evaluate(self) -> tuple[float, dict[str, float]]:
        """Weighted mean loss, and the primary metric; the same bits on every rank and in every process group."""
        task, outputs = self._task, self._outputs()
        loss = mean_loss(task.objective, outputs, self._training_targets, self._row_weights)
        return loss, {task.primary: primary_metric(task, self._link, outputs, np.asarray(self._arrays.y_validation))}

    def _outputs(self) -> NDArray[np.float32]:
        """Raw outputs of all validation rows, float32 (rows, outputs). Collective."""
        x, size = self._arrays.x_validation, self._process_group.size
        rows = len(x)
        found = np.zeros((rows, self._task.outputs), dtype=np.float32)
        # Equal numbers of calls on every rank: where weights are sharded, answering is collective.
        longest = -(-rows // size)
        own = range(self._process_group.rank * longest, min(rows, (self._process_group.rank + 1) * longest))
        for start in range(0, longest, CHUNK_ROWS):
            part = own[start : start + CHUNK_ROWS]
            outputs = self._engine.outputs(np.array(x[part.start : part.stop] if len(part) else x[:1]))
            if len(part):
                found[part.start : part.stop] = outputs
        if size > 1:
            step = max(1, MOST_VALUES // self._task.outputs)
            for start in range(0, rows, step):
                summed = self._process_group.sum_over_ranks(found[start : start + step].astype(np.float64))
                found[start : start + step] = summed
        return found


def primary_metric(task: Task, link: Link, outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """The task's primary metric of raw outputs (rows, outputs) against the targets as they are in the arrays.

    NaN where an output is not finite, or the metric is not defined.
    """
    if not np.isfinite(outputs).all() or task.main.undefined(targets) is not None:
        return float("nan")
    return float(task.main.value(targets, answers(link, outputs.astype(np.float64))))
