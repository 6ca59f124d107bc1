"""Evaluates a model on the validation rows after each epoch, each rank a part of them."""

from __future__ import annotations

import numpy as np

from fullcircle.core.records.training import Arrays
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.training.ports import ProcessGroup, TrainEngine
from fullcircle.training.weighting import Weights, log_loss

CHUNK_ROWS = 16_384
"""Rows that are answered at a time."""


class Validation:
    """Judges a model on the validation rows, each rank a part of them."""

    def __init__(self, arrays: Arrays, weights: Weights, engine: TrainEngine, process_group: ProcessGroup) -> None:
        self._arrays, self._engine, self._process_group = arrays, engine, process_group
        self._row_weights = weights.rows(np.asarray(arrays.y_validation))

    def evaluate(self) -> tuple[float, float]:
        """Weighted log loss in nats, and ROC AUC; the same bits on every rank and in every process group."""
        x, y = self._arrays.x_validation, np.asarray(self._arrays.y_validation)
        rows, size = len(y), self._process_group.size
        logits = np.zeros(rows, dtype=np.float64)
        # Equal numbers of calls on every rank: where weights are sharded, answering is collective.
        longest = -(-rows // size)
        own = range(self._process_group.rank * longest, min(rows, (self._process_group.rank + 1) * longest))
        for start in range(0, longest, CHUNK_ROWS):
            part = own[start : start + CHUNK_ROWS]
            chunk = np.array(x[part.start : part.stop] if len(part) else x[:1])
            answers = self._engine.logits(chunk)
            if len(part):
                logits[part.start : part.stop] = answers
        if size > 1:
            logits = self._process_group.sum_over_ranks(logits)
        answered = logits.astype(np.float32)
        return log_loss(answered, y, self._row_weights), roc_auc(y, answered) if np.isfinite(answered).all() else 0.0
