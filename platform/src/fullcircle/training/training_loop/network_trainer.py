"""The trainer of every framework whose models learn in steps (`ports.Trainer`): the training loop over its engine."""

from __future__ import annotations

import dataclasses

from fullcircle.core.errors import UsageError
from fullcircle.core.records.training import Fitted
from fullcircle.core.tasks import Link
from fullcircle.training.jobs import RankJob
from fullcircle.training.launchers.sigterm import sigterm_event
from fullcircle.training.links import settled
from fullcircle.training.ports import Framework
from fullcircle.training.results import FitResult, write_result, write_stats
from fullcircle.training.training_loop.event_log import EventLog, Listener
from fullcircle.training.training_loop.rank_job import require_fit, train_rank
from fullcircle.training.training_loop.train_state import best_epoch


class NetworkTrainer:
    """Trains the models of one `Framework`, in one process or as one rank of many."""

    def __init__(self, framework: Framework) -> None:
        self.name = framework.name
        self.framework = framework

    def check(self, job: RankJob, size: int) -> None:
        """Refuse what could not be trained (`ports.Trainer`)."""
        require_fit(job, size)
        if job.compute.accumulate < 1:
            raise UsageError(f"compute.accumulate must be at least 1, got {job.compute.accumulate}")
        self.framework.check(job.model_function, job.arrays.shape, job.training, job.compute, job.task.objective)

    def fit(self, job: RankJob, listener: Listener | None = None) -> None:
        """Train as the rank that the environment names (`ports.Trainer`)."""
        # When its workers join, TensorFlow puts a SIGTERM handler of its own over the caller's.
        with self.framework.process_group(job.compute) as group, sigterm_event() as stopped:
            asked = job.stop
            job = dataclasses.replace(job, stop=lambda: stopped.is_set() or asked())
            event_log = EventLog(job.folder / f"rank-{group.rank}.events", listener)
            try:
                state, stats = train_rank(self.framework, job, group, event_log)
            finally:
                event_log.close()
            write_stats(job.folder, stats)
            if group.rank == 0:
                history = tuple(state.history)
                write_result(
                    job.folder,
                    FitResult(weights=state.best, history=history, best_epoch=best_epoch(history), size=group.size),
                )

    def fitted(self, job: RankJob, result: FitResult) -> Fitted:
        """The model with the weights of the best epoch (`ports.Trainer`)."""
        arrays, task = job.arrays, job.task
        link = task.link(arrays.y_train, task.weighting(arrays.y_train, balanced=job.training.class_weights))

        def made(link: Link) -> Fitted:
            return self.framework.fitted(
                job.model_function,
                arrays.shape,
                job.training,
                weights=result.weights,
                link=link,
                history=result.history,
                best_epoch=result.best_epoch,
            )

        return made(settled(task, link, arrays, made))
