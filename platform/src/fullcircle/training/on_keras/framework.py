"""Keras on TensorFlow's implementation of the training port (`ports.Framework`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.tasks import Link, Objective
from fullcircle.training.on_keras import models, process_group, strategy
from fullcircle.training.on_keras.backend import require_tensorflow, tf
from fullcircle.training.on_keras.fitted import KerasFitted
from fullcircle.training.on_keras.train_engine import KerasEngine
from fullcircle.training.ports import Framework, ProcessGroup, Tensors, TrainEngine
from fullcircle.training.training_loop.network_trainer import NetworkTrainer


class KerasFramework:
    """Keras on TensorFlow."""

    name = "keras"

    def check(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> None:
        """Build the model once and look at what it answers for two rows.

        Raises:
            UsageError: Keras is set to another backend; the model function fails, or returns something else than a
                Keras model of the width that the objective asks for; the device is not to be had here.
        """
        require_tensorflow()
        strategy.configure_devices(compute)
        with models.precision(compute.precision):
            models.build_model(build, shape, training, objective)

    def process_group(self, compute: Compute) -> AbstractContextManager[ProcessGroup]:
        """Join the processes that the launcher's environment names, or be alone.

        Raises:
            UsageError: Keras is set to another backend, or the device is not to be had here.
        """
        return process_group.join_process_group(compute)

    def engine(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: ProcessGroup,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> TrainEngine:
        """The model, built from `training.seed`, with the same first weights on every rank."""
        return KerasEngine(build, shape, training, compute, _own_group(process_group), objective)

    def fitted(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        *,
        weights: Tensors,
        link: Link,
        history: tuple[EpochMetrics, ...],
        best_epoch: int,
    ) -> KerasFitted:
        """The model with these weights, ready to answer and to be exported; `link` turns its outputs into answers.

        Raises:
            ValueError, KeyError: the weights do not fit.
        """
        model = models.build_model(build, shape, training, Objective(outputs=len(link.offset)))
        models.assign("model", models.weights_of(model), weights)
        return KerasFitted(model, shape, link, history, best_epoch)

    @contextlib.contextmanager
    def profiler(self, folder: Path) -> Iterator[None]:
        """Record what happens within the block as a trace that TensorBoard and Perfetto open, into `folder`."""
        with tf.profiler.experimental.Profile(str(folder)):
            yield

    def gpu_peak_mb(self) -> float:
        """Most memory that tensors of this process have held on its GPUs, in MB (`ports.Framework`)."""
        names = [f"GPU:{index}" for index in range(len(tf.config.list_logical_devices("GPU")))]
        return float(sum(tf.config.experimental.get_memory_info(name)["peak"] for name in names)) / 2**20

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether this error of TensorFlow means that memory (of the device or the machine) ran out."""
        if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
            return True
        text = str(error).lower()
        return any(words in text for words in ("out of memory", "oom when allocating", "failed to allocate memory"))


def _own_group(of: ProcessGroup) -> process_group.KerasProcessGroup:
    assert isinstance(of, process_group.KerasProcessGroup), "a learner needs the world that its own framework opened"
    return of


FRAMEWORK: Framework = KerasFramework()

TRAINER = NetworkTrainer(FRAMEWORK)
"""The entry of `training.trainers`."""
