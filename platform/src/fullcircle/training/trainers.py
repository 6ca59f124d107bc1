"""The trainers by name (`core.records.training.Trainer`): one process, arrays in memory, the model function itself.

For whoever has both at hand: a notebook, a test. `launch` trains a job, anywhere.
"""

from __future__ import annotations

from pathlib import Path

from fullcircle.core.project import Compute, ModelFunction, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, Fitted, OnEpoch, Trainer
from fullcircle.training.frameworks import BASELINE, framework
from fullcircle.training.on_sklearn.baseline import BaselineTrainer
from fullcircle.training.parameters import for_framework
from fullcircle.training.ports import Framework
from fullcircle.training.training_loop.event_log import EventLog, NullListener
from fullcircle.training.training_loop.rank_job import RankJob, require_fit, train_rank
from fullcircle.training.training_loop.train_state import best_epoch
from fullcircle.training.weighting import weights


def trainer(name: str) -> Trainer:
    """The trainer of "baseline", "torch" or "keras".

    Raises:
        UsageError: no such framework, or it is not installed: the line names the extra to install.
    """
    if name == BASELINE:
        return BaselineTrainer()
    return InlineTrainer(framework(name))


class InlineTrainer:
    """Trains a `Framework`'s model in this process."""

    def __init__(self, framework: Framework, compute: Compute = Compute()) -> None:  # noqa: B008 - it is frozen
        self.framework = framework.name
        self._framework = framework
        self._compute = compute

    def fit(
        self, build: ModelFunction, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> Fitted:
        """Train until `patience` epochs brought nothing or `epochs` are done.

        Raises:
            UsageError: the model function fails or returns something else than one logit a row; before training.
            TrainingFailed: one class alone in a part of the rows, or a number that is not finite, naming the layer.
            HomeUnwritable: no checkpoint can be written.
        """
        params = for_framework(params, self.framework)
        require_fit(arrays, params, 1)
        self._framework.check(build, arrays.shape, params, self._compute)
        rank_job = RankJob(
            project="",
            build=build,
            arrays=arrays,
            training=params,
            compute=self._compute,
            storage=str(checkpoints / "checkpoints"),
            folder=checkpoints,
        )
        event_log = EventLog(checkpoints / "rank-0.events", _Epochs(on_epoch))
        with self._framework.process_group(self._compute) as process_group:
            try:
                state, _ = train_rank(self._framework, rank_job, process_group, event_log)
            finally:
                event_log.close()
        return self._framework.fitted(
            build,
            arrays.shape,
            params,
            weights=state.best,
            shift=weights(arrays.y_train, balanced=params.class_weights).shift,
            history=tuple(state.history),
            best_epoch=best_epoch(state.history),
        )


class _Epochs(NullListener):
    def __init__(self, on_epoch: OnEpoch) -> None:
        self._on_epoch = on_epoch

    def epoch(self, metrics: EpochMetrics) -> None:
        self._on_epoch(metrics)
