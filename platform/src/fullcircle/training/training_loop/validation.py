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
        self._row_weights = weighting.rows(np.asarray(arrays.y_validation))

    def evaluate(self) -> tuple[float, dict[str, float]]:
        """Weighted mean loss, and the primary metric; the same bits on every rank and in every process group."""
        x, y = self._arrays.x_validation, np.asarray(self._arrays.y_validation)
        rows, size = len(y), self._process_group.size
        logits = np.zeros(rows, dtype=np.float64)
        # Equal numbers of calls on every rank: where weights are sharded, answering is collective.
        longest = -(-rows // size)
        own = range(self._process_group.rank * longest, min(rows, (self._process_group.rank + 1) * longest))
        for start in range(0, longest, CHUNK_ROWS):
            part = own[start : start + CHUNK_ROWS]
            chunk = np.array(x[part.start : part.stop] if len(part) else x[:1])
            outputs = self._engine.logits(chunk)
            if len(part):
                logits[part.start : part.stop] = outputs
        if size > 1:
            logits = self._process_group.sum_over_ranks(logits)
        outputs = logits.astype(np.float32)
        loss = mean_loss(self._task.loss, outputs, self._task.training_targets(y, self._link), self._row_weights)
        return loss, {self._task.primary: primary_metric(self._task, self._link, outputs, y)}


def primary_metric(task: Task, link: Link, outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """The task's primary metric of raw outputs; NaN where one is not finite, or the metric is not defined."""
    if not np.isfinite(outputs).all() or task.main.undefined(targets) is not None:
        return float("nan")
    return float(task.main.value(targets, answers(link, outputs.astype(np.float64))))
