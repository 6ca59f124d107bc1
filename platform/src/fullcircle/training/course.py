"""The course of a training, the same for every framework and every number of processes.

Epochs, early stopping, chunks of steps, checkpoints, going on after a kill, stopping when told to, and the guard
against numbers that are not finite are here, once; a framework brings a `Learner`.

Every rank runs this. What a rank must know of the others (losses, whether someone was told to stop, whether it is time
for a checkpoint) travels in one sum over the ranks after each chunk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import Preempted, TrainingFailed
from fullcircle.core.project import Compute, Training
from fullcircle.core.records.training import Arrays, EpochMetrics
from fullcircle.training.checkpoints import Checkpoints
from fullcircle.training.feeder import Fed, Feeder, open_feeder
from fullcircle.training.journal import Journal
from fullcircle.training.nonfinite import blame
from fullcircle.training.pace import Pace
from fullcircle.training.ports import Framework, Learner, World
from fullcircle.training.sampler import row_order, steps_of
from fullcircle.training.saver import Saver
from fullcircle.training.standing import Standing, best_epoch
from fullcircle.training.stopwatch import Stopwatch
from fullcircle.training.validation import Validation
from fullcircle.training.weighting import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a course needs to know of its job, beside the learner.

    Attributes:
        stop: whether this process was told to stop.
        profile_steps: so many steps are recorded by the framework's profiler, into `folder/profile`.
        begun: when the launch was (`time.time`), for the time to the first step.
    """

    arrays: Arrays
    training: Training
    compute: Compute
    weights: Weights
    folder: Path
    stop: Callable[[], bool] = lambda: False
    profile_steps: int = 0
    begun: float = field(default_factory=time.time)


class Course:
    """One rank's way through a training. `run` it once."""

    def __init__(
        self,
        framework: Framework,
        learner: Learner,
        world: World,
        setup: Setup,
        checkpoints: Checkpoints,
        journal: Journal,
    ) -> None:
        self.standing = Standing()
        self.clock = Stopwatch(communication_measured=learner.communication_measured, begun=setup.begun)
        self._framework, self._learner, self._world = framework, learner, world
        self._setup, self._journal = setup, journal
        self._saver = Saver(checkpoints, learner, world)
        self._pace = Pace(setup.compute, setup.training.batch_size)
        self._validation = Validation(setup.arrays, setup.weights, learner, world)
        self._profiling = ExitStack()
        self._profile_until: int | None = None

    def run(self) -> Standing:
        """Train until `patience` epochs brought nothing or `epochs` are done; the best weights are in the result.

        Raises:
            Preempted: a process was told to stop; all that was done is in the newest checkpoint.
            TrainingFailed: a number was not finite; the layer and the rows are named, the checkpoint before stays.
            HomeUnwritable: a checkpoint cannot be written; the one before stays.
            UsageError: the checkpoints belong to another training.
        """
        setup = self._setup
        try:
            self._resume()
            with open_feeder(setup.arrays, setup.weights, setup.training.batch_size, self._world) as feeder:
                while not self._done():
                    self._epoch(feeder)
            self._saver.finish()
        finally:
            self._profiling.close()
            self._saver.close()
        self.clock.checkpoint_s = self._saver.seconds
        return self.standing

    def _done(self) -> bool:
        history, training, budget = self.standing.history, self._setup.training, self._setup.compute.budget_s
        if not history:
            return False
        if budget is not None and self.standing.total_s >= budget:
            return True
        return len(history) >= training.epochs or len(history) - best_epoch(history) >= training.patience

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint; without one, write that of step 0, to have one to go back to."""
        step = -1.0
        if self._world.rank == 0:
            found, warnings = self._saver.checkpoints.find()
            step = float(found.step) if found else -1.0
            for warning in warnings:
                self._journal.note(warning)
        if self._world.size > 1:
            step = float(self._world.total(np.array([step if self._world.rank == 0 else 0.0]))[0])
        if step < 0:
            self._save()
            return
        self._take_up(int(step))
        self._journal.write("resumed", step=self.standing.step)
        for epoch in self.standing.history:
            self._journal.epoch(epoch)
        if self.standing.step:
            self._journal.note(f"going on from the checkpoint of step {self.standing.step:,}")

    def _take_up(self, step: int) -> None:
        found = self._saver.checkpoints.open(step)
        self._learner.load(found.folder)
        self.standing = Standing.of(found.meta, found.best)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        training = self._setup.training
        return row_order(training.seed, epoch, len(self._setup.arrays.y_train), training.batch_size)

    def _epoch(self, feeder: Feeder) -> None:
        standing, number = self.standing, len(self.standing.history) + 1
        order = self._order(number)
        ahead = self._ahead(feeder, order, standing.position, standing.step)
        while ahead is not None:
            fed = ahead.result()
            steps = fed[0].steps
            ahead = self._ahead(feeder, order, standing.position + steps, standing.step + steps)
            if not self._chunk(fed, number):
                break
            self._profile()
        self._close_epoch(number, order)

    def _ahead(self, feeder: Feeder, order: NDArray[np.int64], position: int, done: int) -> Future[Fed] | None:
        """Begin to gather the chunk at this position, behind `done` steps; None at the end of the epoch."""
        steps = self._pace.steps(len(order), position, done)
        return feeder.ahead(order, position, steps, done + 1) if steps else None

    def _chunk(self, fed: Fed, epoch: int) -> bool:
        """Learn one chunk and act on what all ranks know then. False when the time budget is spent."""
        chunk, share = fed
        waited_s = self.clock.since_last()
        results = self._learner.steps(chunk)
        worked_s = self.clock.since_last()
        losses, signals = self._exchange(results.losses, worked_s)
        self.clock.chunk(chunk, waited_s, worked_s, results.communication_s)
        bad = np.flatnonzero(~(np.isfinite(losses) & np.isfinite(results.norms)))
        if bad.size:
            raise self._went_bad(chunk.first + int(bad[0]))
        seconds = waited_s + worked_s + self.clock.exchange_s
        rate = float(chunk.counts.sum()) / max(seconds, 1e-9)
        self._journal.steps(
            chunk.first, epoch, losses.tolist(), results.norms.tolist(), share.checksums, rate, self.clock.latest
        )
        standing = self.standing
        standing.step += chunk.steps
        standing.position += chunk.steps
        standing.loss += float((losses * chunk.counts).sum())
        standing.seconds += seconds
        standing.total_s += seconds
        return self._act(signals)

    def _exchange(
        self, losses: NDArray[np.float64], worked_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum over the ranks: each step's loss; and three signals: stop, checkpoint due, seconds."""
        leader = self._world.rank == 0
        due = leader and self._pace.due(time.monotonic() - self._saver.at)
        mine = np.array([self._setup.stop(), due, worked_s if leader else 0.0], dtype=np.float64)
        if self._world.size == 1:
            return losses, mine
        total = self._world.total(np.concatenate([losses, mine]))
        return total[: len(losses)], total[len(losses) :]

    def _act(self, signals: NDArray[np.float64]) -> bool:
        stop, due, seconds = signals
        self._pace.learn(float(seconds))
        self._saver.check()
        if stop:
            self._save()
            self._saver.finish()
            raise Preempted(f"training was told to stop at step {self.standing.step:,}", step=self.standing.step)
        if due or self._pace.is_checkpoint(self.standing.step):
            self._save()
        budget = self._setup.compute.budget_s
        return budget is None or self.standing.total_s < budget

    def _save(self) -> None:
        self._saver.begin(self.standing.step, self.standing.meta(), self.standing.best)
        self.clock.since_last()  # it is counted by the saver

    def _close_epoch(self, number: int, order: NDArray[np.int64]) -> None:
        """Judge the epoch on the validation rows, keep its weights if it is the best, write a checkpoint."""
        standing, setup = self.standing, self._setup
        started = time.perf_counter()
        learned = order[: standing.position * setup.training.batch_size]
        row_weights = setup.weights.rows(setup.arrays.y_train[np.sort(learned)])
        train_loss = standing.loss / float(row_weights.sum(dtype=np.float64))
        validation_loss, auc = self._validation.judge()
        if not math.isfinite(validation_loss):
            raise TrainingFailed(
                f"{self._framework.name}: non-finite validation loss after step {standing.step:,}",
                hint=f"lower training.learning_rate (now {setup.training.learning_rate:g})",
            )
        seconds = standing.seconds + time.perf_counter() - started
        metrics = EpochMetrics(
            epoch=number,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_auc=auc,
            seconds=seconds,
        )
        standing.history.append(metrics)
        if best_epoch(standing.history) == number:
            standing.best = self._learner.weights()
        standing.position, standing.loss, standing.seconds = 0, 0.0, 0.0
        self._save()
        self._journal.epoch(metrics)
        self.clock.since_last()

    def _profile(self) -> None:
        """Record `profile_steps` steps, once the first chunk (compilation, caches) is over; on rank 0 alone."""
        wanted, step = self._setup.profile_steps, self.standing.step
        if not wanted or self._world.rank != 0:
            return
        if self._profile_until is None:
            self._profile_until = step + wanted
            folder = self._setup.folder / "profile"
            folder.mkdir(parents=True, exist_ok=True)
            self._profiling.enter_context(self._framework.profiler(folder))
        elif step >= self._profile_until:
            self._profiling.close()

    def _went_bad(self, step: int) -> TrainingFailed:
        """Go back to the newest checkpoint, learn again up to the step before, and look into the step itself."""
        self._saver.finish()
        newest = self._world.total(np.array([float(self._newest())]))[0] if self._world.size > 1 else self._newest()
        self._take_up(int(newest))
        setup = self._setup
        with open_feeder(setup.arrays, setup.weights, setup.training.batch_size, self._world) as feeder:
            for order, position, first, steps in self._way_to(step):
                if steps:
                    self._learner.steps(feeder.gather(order, position, steps, first)[0])
            chunk, share = feeder.gather(order, position, 1, step)
        return blame(self._framework, self._learner, self._world, setup.arrays, chunk, share, int(newest), setup.folder)

    def _way_to(self, step: int) -> Iterator[tuple[NDArray[np.int64], int, int, int]]:
        """From where the training stands to just before `step`: order, position, first step and number of steps of
        each chunk. The last one has no steps: it says where `step` is."""
        standing = self.standing
        epoch, position, at = len(standing.history) + 1, standing.position, standing.step
        order = self._order(epoch)
        while True:
            steps = min(self._pace.steps(len(order), position, at), step - 1 - at)
            if (steps == 0 and at < step - 1) or position == steps_of(len(order), self._setup.training.batch_size):
                epoch, position = epoch + 1, 0
                order = self._order(epoch)
                continue
            yield order, position, at + 1, steps
            if steps == 0:
                return
            position, at = position + steps, at + steps

    def _newest(self) -> int:
        """Step of the newest checkpoint, on rank 0; others add nothing to the sum."""
        if self._world.rank != 0:
            return 0
        found, _ = self._saver.checkpoints.find()
        assert found is not None, "there is one of step 0"
        return found.step
