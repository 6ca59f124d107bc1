"""One rank's Keras model in training (`ports.TrainEngine`): a chunk of steps is one call into TensorFlow's graph."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Compute, ModelFunction, Shape, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.on_keras import checkpoint, models, nonfinite
from fullcircle.training.on_keras.backend import tf
from fullcircle.training.on_keras.optimizer import optimizer_for
from fullcircle.training.on_keras.process_group import KerasProcessGroup
from fullcircle.training.on_keras.train_step import ChunkGraph
from fullcircle.training.ports import Chunk, Diagnosis, Pending, StepResults, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class KerasEngine:
    """One rank's part of a Keras model (`ports.TrainEngine`)."""

    framework = "keras"

    def __init__(
        self,
        build: ModelFunction,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: KerasProcessGroup,
        objective: Objective = Objective(),  # noqa: B008 - it is frozen
    ) -> None:
        self._build, self._shape, self._training, self._compute = build, shape, training, compute
        self._process_group, self._objective = process_group, objective
        with process_group.scope(), models.precision(compute.precision):
            self._model = models.build_model(build, shape, training, objective)
            self._optimizer = optimizer_for(training, compute)
            self._optimizer.build(self._model.trainable_variables)
        self.architecture = models.architecture(self._model)
        self.communication_measured = process_group.measures
        self._weights = models.weights_of(self._model)
        self._seeds = models.seeds_of(self._model)
        self._assign_seeds(self._fresh_seeds(step=0))
        self._chunk_graph = ChunkGraph(self._model, self._optimizer, shape, training, compute, process_group, objective)
        self._outputs = tf.function(
            lambda x: tf.cast(self._model(x, training=False), tf.float32), autograph=False, reduce_retracing=True
        )
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keras-checkpoint")

    def steps(self, chunk: Chunk) -> StepResults:
        """One optimizer step for each step of the chunk, all in one call."""
        return self._chunk_graph(chunk)

    def outputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the last layer gives for each row, float32 (rows, outputs), as in production: no dropout."""
        return models.predict_in_chunks(self._outputs, features, self._objective.outputs)

    def weights(self) -> Tensors:
        """Copies of what the model answers with."""
        return models.copies("model", self._weights)

    def take(self, weights: Tensors) -> None:
        """Answer with these weights from now on. Raises ValueError or KeyError when they do not fit."""
        models.assign("model", self._weights, weights)

    def save(self, folder: Path) -> Pending:
        """Copy the state of now, and write it while training goes on: rank 0 all of it, the others their seeds."""
        seeds = self._read_seeds()
        state = {**self.weights(), **models.copies("optimizer", self._optimizer.variables)}

        def write() -> None:
            checkpoint.write_seeds(folder, self._process_group.rank, seeds)
            if self._process_group.rank == 0:
                checkpoint.write_state(folder, state)

        return checkpoint.PendingWrite(self._writer.submit(write))

    def load(self, folder: Path) -> None:
        """Go on from such a folder, written by a process group of whatever size. Raises ValueError or KeyError."""
        state = checkpoint.read_state(folder)
        models.assign("model", self._weights, state)
        models.assign("optimizer", self._optimizer.variables, state)
        found = checkpoint.read_seeds(folder, self._process_group.rank)
        fresh = self._fresh_seeds(step=int(self._optimizer.iterations.numpy()))
        self._assign_seeds(found if found is not None and found.shape == fresh.shape else fresh)

    def diagnose(self, chunk: Chunk) -> Diagnosis | None:
        """Do the chunk's one step again, layer by layer, on a copy of the model that belongs to no strategy.

        Not collective: each rank looks at its own rows.
        """
        x, y, w, count = chunk.x[0], chunk.y[0], chunk.w[0], int(chunk.counts[0])
        seeds, replicas = self._read_seeds(), self._process_group.replicas
        each = -(-len(y) // replicas)
        for replica in range(
            replicas
        ):  # with the rows, the fillers and so the dropout that `process_group.share` gives it
            own = replica * each + np.arange(each)
            rows = np.minimum(own, len(y) - 1)
            model, optimizer = self._copy(seeds[replica])
            weights = np.where(own < len(y), w[rows], np.float32(0))
            found = nonfinite.diagnose(model, optimizer, x[rows], y[rows], weights, count, self._objective)
            if found is not None:
                return dataclasses.replace(found, rows=tuple(sorted({int(rows[row]) for row in found.rows})))
        return None

    def _copy(self, seeds: NDArray[np.int64]) -> tuple[Any, Any]:
        """A copy of the model and, when no gradients of others are needed for an update, of the optimizer."""
        with models.precision(self._compute.precision):
            model = models.build_model(self._build, self._shape, self._training, self._objective)
        models.assign("model", models.weights_of(model), self.weights())
        for variable, seed in zip(models.seeds_of(model), seeds, strict=True):
            variable.assign(seed)
        if self._process_group.all_replicas > 1 or self._compute.precision == "float16":
            return model, None
        optimizer = optimizer_for(self._training, self._compute)
        optimizer.build(model.trainable_variables)
        models.assign("optimizer", optimizer.variables, models.copies("optimizer", self._optimizer.variables))
        return model, optimizer

    def _fresh_seeds(self, *, step: int) -> NDArray[np.int64]:
        """Random state of each of this rank's replicas: dropout of its own, decided by seed, rank and step."""
        replicas = self._process_group.replicas
        shape = (len(self._seeds), 2)
        fresh = np.zeros((replicas, *shape), dtype=np.int64)
        for replica in range(replicas):
            sequence = np.random.SeedSequence(
                [self._training.seed, self._process_group.rank * replicas + replica, step]
            )
            fresh[replica, :, 0] = sequence.generate_state(max(len(self._seeds), 1))[: len(self._seeds)]
        return fresh

    def _read_seeds(self) -> NDArray[np.int64]:
        seeds = np.zeros((self._process_group.replicas, len(self._seeds), 2), dtype=np.int64)
        for index, variable in enumerate(self._seeds):
            for replica, part in enumerate(self._process_group.parts(variable)):
                seeds[replica, index] = part.numpy()
        return seeds

    def _assign_seeds(self, seeds: NDArray[np.int64]) -> None:
        for index, variable in enumerate(self._seeds):
            for replica, part in enumerate(self._process_group.parts(variable)):
                part.assign(seeds[replica, index])
