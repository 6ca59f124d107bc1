"""The training loop of one rank, the same for every framework and every number of processes.

Epochs, early stopping, chunks of steps, checkpoints, resuming after a kill, stopping on request, and the check for
numbers that are not finite are here, once; a framework brings a `TrainEngine`.

Every rank runs this loop. What a rank must know of the others (losses, whether one was asked to stop, whether a
checkpoint is due) travels in one sum over the ranks after each chunk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import Preempted, TrainingFailed
from fullcircle.core.project import Compute, Training
from fullcircle.core.records.training import Arrays, EpochMetrics
from fullcircle.core.tasks import Link, Task, Weighting
from fullcircle.training.checkpoints.async_checkpointer import AsyncCheckpointer
from fullcircle.training.checkpoints.checkpoint_store import Checkpoints
from fullcircle.training.ports import Framework, ProcessGroup, TrainEngine
from fullcircle.training.training_loop.chunk_schedule import ChunkSchedule
from fullcircle.training.training_loop.event_log import EventLog
from fullcircle.training.training_loop.nonfinite import diagnose
from fullcircle.training.training_loop.prefetch import (
    BatchPrefetcher,
    PrefetchedChunk,
    TrainingTargets,
    open_prefetcher,
)
from fullcircle.training.training_loop.sampler import row_order, steps_of
from fullcircle.training.training_loop.stopwatch import Stopwatch
from fullcircle.training.training_loop.train_state import TrainState, best_epoch
from fullcircle.training.training_loop.validation import Validation

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LoopSetup:
    """What a training loop needs to know of its job, beside the engine.

    Attributes:
        stop: whether this process was told to stop.
        profile_steps: so many steps are recorded by the framework's profiler, into `folder/profile`.
        begun: when the launch was (`time.time`), for the time to the first step.
    """

    arrays: Arrays
    training: Training
    compute: Compute
    task: Task
    weighting: Weighting
    link: Link
    folder: Path
    stop: Callable[[], bool] = lambda: False
    profile_steps: int = 0
    begun: float = field(default_factory=time.time)


class TrainingLoop:
    """One rank's way through a training. `run` it once."""

    def __init__(
        self,
        framework: Framework,
        engine: TrainEngine,
        process_group: ProcessGroup,
        setup: LoopSetup,
        checkpoints: Checkpoints,
        event_log: EventLog,
    ) -> None:
        self.state = TrainState()
        self.clock = Stopwatch(communication_measured=engine.communication_measured, begun=setup.begun)
        self._framework, self._engine, self._process_group = framework, engine, process_group
        self._setup, self._event_log = setup, event_log
        self._checkpointer = AsyncCheckpointer(checkpoints, engine, process_group)
        self._schedule = ChunkSchedule(setup.compute, setup.training.batch_size)
        self._validation = Validation(setup.arrays, setup.task, setup.weighting, setup.link, engine, process_group)
        self._profiling = ExitStack()
        self._profile_until: int | None = None

    def run(self) -> TrainState:
        """Train until `patience` epochs brought nothing or `epochs` are done; the best weights are in the result.

        Raises:
            Preempted: a process was told to stop; all that was done is in the newest checkpoint.
            TrainingFailed: a number was not finite; the layer and the rows are named, the checkpoint before stays.
            HomeUnwritable: a checkpoint cannot be written; the one before stays.
            UsageError: the checkpoints belong to another training.
        """
        try:
            self._resume()
            with self._open_prefetcher() as prefetcher:
                while not self._is_done():
                    self._epoch(prefetcher)
            self._checkpointer.finish()
        finally:
            self._profiling.close()
            self._checkpointer.close()
        self.clock.checkpoint_s = self._checkpointer.seconds
        return self.state

    def _open_prefetcher(self) -> AbstractContextManager[BatchPrefetcher]:
        setup = self._setup
        targets = TrainingTargets(setup.task, setup.weighting, setup.link)
        return open_prefetcher(setup.arrays, targets, setup.training.batch_size, self._process_group)

    def _is_done(self) -> bool:
        history, training, budget = self.state.history, self._setup.training, self._setup.compute.budget_s
        if not history:
            return False
        if budget is not None and self.state.total_s >= budget:
            return True
        return len(history) >= training.epochs or len(history) - best_epoch(history) >= training.patience

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint; without one, write that of step 0, to have one to go back to."""
        step = -1.0
        if self._process_group.rank == 0:
            found, warnings = self._checkpointer.checkpoints.find()
            step = float(found.step) if found else -1.0
            for warning in warnings:
                self._event_log.note(warning)
        if self._process_group.size > 1:
            step = float(
                self._process_group.sum_over_ranks(np.array([step if self._process_group.rank == 0 else 0.0]))[0]
            )
        if step < 0:
            self._save()
            return
        self._restore(int(step))
        self._event_log.write("resumed", step=self.state.step)
        for epoch in self.state.history:
            self._event_log.epoch(epoch)
        if self.state.step:
            self._event_log.note(f"going on from the checkpoint of step {self.state.step:,}")

    def _restore(self, step: int) -> None:
        found = self._checkpointer.checkpoints.open(step)
        self._engine.load(found.folder)
        self.state = TrainState.from_meta(found.meta, found.best)

    def _row_order(self, epoch: int) -> NDArray[np.int64]:
        training = self._setup.training
        return row_order(training.seed, epoch, len(self._setup.arrays.y_train), training.batch_size)

    def _epoch(self, prefetcher: BatchPrefetcher) -> None:
        state, number = self.state, len(self.state.history) + 1
        order = self._row_order(number)
        upcoming = self._prefetch(prefetcher, order, state.position, state.step)
        while upcoming is not None:
            prefetched = upcoming.result()
            steps = prefetched[0].steps
            upcoming = self._prefetch(prefetcher, order, state.position + steps, state.step + steps)
            if not self._chunk(prefetched, number):
                break
            self._profile()
        self._close_epoch(number, order)

    def _prefetch(
        self, prefetcher: BatchPrefetcher, order: NDArray[np.int64], position: int, done: int
    ) -> Future[PrefetchedChunk] | None:
        """Begin to gather the chunk at this position, behind `done` steps; None at the end of the epoch."""
        steps = self._schedule.steps(len(order), position, done)
        return prefetcher.prefetch(order, position, steps, done + 1) if steps else None

    def _chunk(self, prefetched: PrefetchedChunk, epoch: int) -> bool:
        """Learn one chunk and act on what all ranks know then. False when the time budget is spent."""
        chunk, share = prefetched
        waited_s = self.clock.since_last()
        results = self._engine.steps(chunk)
        worked_s = self.clock.since_last()
        losses, signals = self._exchange(results.losses, worked_s)
        self.clock.chunk(chunk, waited_s, worked_s, results.communication_s)
        bad = np.flatnonzero(~(np.isfinite(losses) & np.isfinite(results.norms)))
        if bad.size:
            raise self._nonfinite_error(chunk.first + int(bad[0]))
        seconds = waited_s + worked_s + self.clock.exchange_s
        rate = float(chunk.counts.sum()) / max(seconds, 1e-9)
        self._event_log.steps(
            chunk.first, epoch, losses.tolist(), results.norms.tolist(), share.checksums, rate, self.clock.latest
        )
        state = self.state
        state.step += chunk.steps
        state.position += chunk.steps
        state.loss += float((losses * chunk.counts).sum())
        state.seconds += seconds
        state.total_s += seconds
        return self._handle_signals(signals)

    def _exchange(
        self, losses: NDArray[np.float64], worked_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum over the ranks: each step's loss; and three signals: stop, checkpoint due, seconds."""
        leader = self._process_group.rank == 0
        due = leader and self._schedule.due(time.monotonic() - self._checkpointer.at)
        mine = np.array([self._setup.stop(), due, worked_s if leader else 0.0], dtype=np.float64)
        if self._process_group.size == 1:
            return losses, mine
        total = self._process_group.sum_over_ranks(np.concatenate([losses, mine]))
        return total[: len(losses)], total[len(losses) :]

    def _handle_signals(self, signals: NDArray[np.float64]) -> bool:
        stop, due, seconds = signals
        self._schedule.adapt(float(seconds))
        self._checkpointer.check()
        if stop:
            self._save()
            self._checkpointer.finish()
            raise Preempted(f"training was told to stop at step {self.state.step:,}", step=self.state.step)
        if due or self._schedule.is_checkpoint(self.state.step):
            self._save()
        budget = self._setup.compute.budget_s
        return budget is None or self.state.total_s < budget

    def _save(self) -> None:
        self._checkpointer.begin(self.state.step, self.state.meta(), self.state.best)
        self.clock.since_last()  # it is counted by the saver

    def _close_epoch(self, number: int, order: NDArray[np.int64]) -> None:
        """Judge the epoch on the validation rows, keep its weights if it is the best, write a checkpoint."""
        state, setup = self.state, self._setup
        started = time.perf_counter()
        learned = order[: state.position * setup.training.batch_size]
        row_weights = setup.weighting.rows(setup.arrays.y_train[np.sort(learned)])
        train_loss = state.loss / float(row_weights.sum(dtype=np.float64))
        validation_loss, validation = self._validation.evaluate()
        if not math.isfinite(validation_loss):
            raise TrainingFailed(
                f"{self._framework.name}: non-finite validation loss after step {state.step:,}",
                hint=f"lower training.learning_rate (now {setup.training.learning_rate:g})",
            )
        seconds = state.seconds + time.perf_counter() - started
        metrics = EpochMetrics(
            epoch=number,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation=validation,
            seconds=seconds,
        )
        state.history.append(metrics)
        if best_epoch(state.history) == number:
            state.best = self._engine.weights()
        state.position, state.loss, state.seconds = 0, 0.0, 0.0
        self._save()
        self._event_log.epoch(metrics)
        self.clock.since_last()

    def _profile(self) -> None:
        """Record `profile_steps` steps, once the first chunk (compilation, caches) is over; on rank 0 alone."""
        wanted, step = self._setup.profile_steps, self.state.step
        if not wanted or self._process_group.rank != 0:
            return
        if self._profile_until is None:
            self._profile_until = step + wanted
            folder = self._setup.folder / "profile"
            folder.mkdir(parents=True, exist_ok=True)
            self._profiling.enter_context(self._framework.profiler(folder))
        elif step >= self._profile_until:
            self._profiling.close()

    def _nonfinite_error(self, step: int) -> TrainingFailed:
        """Go back to the newest checkpoint, learn again up to the step before, and look into the step itself."""
        self._checkpointer.finish()
        newest = (
            self._process_group.sum_over_ranks(np.array([float(self._newest_checkpoint())]))[0]
            if self._process_group.size > 1
            else self._newest_checkpoint()
        )
        self._restore(int(newest))
        setup = self._setup
        with self._open_prefetcher() as prefetcher:
            for order, position, first, steps in self._chunks_until(step):
                if steps:
                    self._engine.steps(prefetcher.gather(order, position, steps, first)[0])
            chunk, share = prefetcher.gather(order, position, 1, step)
        return diagnose(
            self._framework, self._engine, self._process_group, setup.arrays, chunk, share, int(newest), setup.folder
        )

    def _chunks_until(self, step: int) -> Iterator[tuple[NDArray[np.int64], int, int, int]]:
        """From where the training stands to just before `step`: order, position, first step and number of steps of
        each chunk. The last one has no steps: it says where `step` is."""
        state = self.state
        epoch, position, at = len(state.history) + 1, state.position, state.step
        order = self._row_order(epoch)
        while True:
            steps = min(self._schedule.steps(len(order), position, at), step - 1 - at)
            if (steps == 0 and at < step - 1) or position == steps_of(len(order), self._setup.training.batch_size):
                epoch, position = epoch + 1, 0
                order = self._row_order(epoch)
                continue
            yield order, position, at + 1, steps
            if steps == 0:
                return
            position, at = position + steps, at + steps

    def _newest_checkpoint(self) -> int:
        """Step of the newest checkpoint, on rank 0; others add nothing to the sum."""
        if self._process_group.rank != 0:
            return 0
        found, _ = self._checkpointer.checkpoints.find()
        assert found is not None, "there is one of step 0"
        return found.step
