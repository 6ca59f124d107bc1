"""Judges a model on the validation rows, after each epoch, each rank a part of them."""

from __future__ import annotations

import numpy as np

from fullcircle.core.records.training import Arrays
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.training.ports import Learner, World
from fullcircle.training.weighting import Weights, log_loss

CHUNK_ROWS = 16_384
"""Rows that are answered at a time."""


class Validation:
    """Judges a model on the validation rows, each rank a part of them."""

    def __init__(self, arrays: Arrays, weights: Weights, learner: Learner, world: World) -> None:
        self._arrays, self._learner, self._world = arrays, learner, world
        self._row_weights = weights.rows(np.asarray(arrays.y_validation))

    def judge(self) -> tuple[float, float]:
        """Weighted log loss in nats, and ROC AUC; the same bits on every rank and in every world."""
        x, y = self._arrays.x_validation, np.asarray(self._arrays.y_validation)
        rows, size = len(y), self._world.size
        logits = np.zeros(rows, dtype=np.float64)
        # Equal numbers of calls on every rank: where weights are sharded, answering is collective.
        longest = -(-rows // size)
        own = range(self._world.rank * longest, min(rows, (self._world.rank + 1) * longest))
        for start in range(0, longest, CHUNK_ROWS):
            part = own[start : start + CHUNK_ROWS]
            chunk = np.array(x[part.start : part.stop] if len(part) else x[:1])
            answers = self._learner.logits(chunk)
            if len(part):
                logits[part.start : part.stop] = answers
        if size > 1:
            logits = self._world.total(logits)
        answered = logits.astype(np.float32)
        return log_loss(answered, y, self._row_weights), roc_auc(y, answered) if np.isfinite(answered).all() else 0.0
