"""The course of a fit, the same for every framework: epochs, early stopping, checkpoints, resuming.

A framework brings a `Learner`; the order of rows, the validation loss, and the choice of the best epoch are here, once.
The order of rows depends on the seed and the number of the epoch alone, so a resumed fit needs no generator's state.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.models import Arrays, EpochMetrics, OnEpoch
from fullcircle.core.project import Training
from fullcircle.core.statistics import roc_auc
from fullcircle.training import checkpoints
from fullcircle.training.checkpoints import Checkpoint, Tensors
from fullcircle.training.weighting import Weights, log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Learner(Protocol):
    """One model in one framework, while it learns."""

    framework: str
    architecture: str
    """Text that changes when the model's layers do."""

    def epoch(self, number: int, order: NDArray[np.int64]) -> float:
        """Learn the training rows once, in this order; mean weighted log loss over the epoch, in nats."""
        ...

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logit of each row, float32 (rows,), as in production: no dropout."""
        ...

    def state(self) -> Tensors:
        """Copies of weights, optimizer and random state."""
        ...

    def restore(self, state: Tensors) -> None:
        """Take `state` (or the weights alone) over. Raises ValueError or KeyError when it does not fit."""
        ...

    def weights(self) -> Tensors:
        """Copies of what the model answers with."""
        ...


def fit_epochs(
    learner: Learner, arrays: Arrays, params: Training, weights: Weights, *, folder: Path, on_epoch: OnEpoch
) -> tuple[tuple[EpochMetrics, ...], int]:
    """Train until `patience` epochs brought nothing or `epochs` are done; the learner ends with the best weights.

    `on_epoch` hears of every epoch of the history once, those restored from a checkpoint first.

    Returns:
        The history and the number of the best epoch.

    Raises:
        TrainingFailed: a loss is not finite; the checkpoint of the epoch before stays.
    """
    mark = checkpoints.fingerprint(learner.framework, learner.architecture, params, arrays)
    found = checkpoints.load(folder, mark)
    history: list[EpochMetrics] = []
    best = learner.weights()
    if found is not None:
        learner.restore(found.state)
        history, best = list(found.history), found.best
        for epoch in history:
            on_epoch(epoch)
    row_weights = weights.rows(arrays.y_validation)
    while not _done(history, params):
        metrics = _one_epoch(learner, arrays, params, row_weights, number=len(history) + 1)
        history.append(metrics)
        if best_epoch(history) == metrics.epoch:
            best = learner.weights()
        checkpoints.save(folder, Checkpoint(fingerprint=mark, state=learner.state(), best=best, history=history))
        on_epoch(metrics)
    learner.restore(best)
    return tuple(history), best_epoch(history)


def best_epoch(history: list[EpochMetrics]) -> int:
    """Number of the epoch with the least validation loss, the earliest of equals."""
    return min(history, key=lambda epoch: (epoch.validation_loss, epoch.epoch)).epoch


def row_order(seed: int, epoch: int, rows: int, batch_size: int) -> NDArray[np.int64]:
    """The rows of one epoch, shuffled. A last batch of one row is left out: batch normalisation cannot take it."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[:-1] if rows > 1 and rows % batch_size == 1 else order


def _done(history: list[EpochMetrics], params: Training) -> bool:
    if not history:
        return False
    return len(history) >= params.epochs or len(history) - best_epoch(history) >= params.patience


def _one_epoch(
    learner: Learner, arrays: Arrays, params: Training, row_weights: NDArray[np.float32], *, number: int
) -> EpochMetrics:
    start = time.perf_counter()
    train_loss = learner.epoch(number, row_order(params.seed, number, len(arrays.y_train), params.batch_size))
    logits = learner.logits(arrays.x_validation)
    validation_loss = log_loss(logits, arrays.y_validation, row_weights)
    for name, loss in (("training", train_loss), ("validation", validation_loss)):
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"{learner.framework}: the {name} loss of epoch {number} is {loss}",
                hint=f"lower training.learning_rate (now {params.learning_rate:g}) or check the model's activations",
            )
    return EpochMetrics(
        epoch=number,
        train_loss=train_loss,
        validation_loss=validation_loss,
        validation_auc=roc_auc(arrays.y_validation, logits),
        seconds=time.perf_counter() - start,
    )
