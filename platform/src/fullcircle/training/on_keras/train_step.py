"""The train steps of a chunk as one TensorFlow graph: forward, backward, sum over all replicas, clipping, update."""

from __future__ import annotations

from typing import Any

from fullcircle.core.project import Compute, Shape, Training
from fullcircle.core.tasks import Objective
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.losses import LOSSES
from fullcircle.training.on_keras.process_group import KerasProcessGroup
from fullcircle.training.ports import Chunk, StepResults


class ChunkGraph:
    """Does the steps of a chunk without coming back to Python in between.

    The graph is traced once, numbers of steps and of rows are left open; on a TPU once for each of them.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        shape: Shape,
        training: Training,
        compute: Compute,
        process_group: KerasProcessGroup,
        objective: Objective,
    ) -> None:
        self._model = model
        self._loss, self._objective = LOSSES[objective.loss], objective
        self._variables = model.trainable_variables
        self._optimizer = optimizer
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._clip_norm = training.clip_norm
        self._accumulate = compute.accumulate
        self._process_group = process_group
        self._gradients = self._gradients_of_step
        if compute.compile:
            self._gradients = tf.function(self._gradients_of_step, jit_compile=True, autograph=False)
        labels = () if objective.targets == 1 else (objective.targets,)
        signature = [
            tf.TensorSpec((None, None, *shape), tf.float32),
            tf.TensorSpec((None, None, *labels), tf.float32),
            tf.TensorSpec((None, None), tf.float32),
            tf.TensorSpec((None,), tf.int64),
        ]
        self._run = tf.function(
            self._chunk, autograph=False, input_signature=signature if process_group.open_shapes else None
        )

    def __call__(self, chunk: Chunk) -> StepResults:
        """One optimizer step for each step of the chunk."""
        results, waited = self._run(chunk.x, chunk.y, chunk.w, chunk.counts)
        losses, norms = results.numpy().T
        return StepResults(losses=losses.copy(), norms=norms.copy(), communication_s=float(waited.numpy()))

    def _chunk(self, x: Any, y: Any, w: Any, counts: Any) -> Any:
        """Results float64 (steps, 2): loss and norm; and the seconds of waiting."""
        steps = tf.shape(x)[0]

        def step(index: Any, results: Any, waited: Any) -> Any:
            outcome = self._process_group.run(self._step, x[index], y[index], w[index], counts[index])
            return index + 1, results.write(index, outcome[:2]), waited + outcome[2]

        start = (0, tf.TensorArray(tf.float64, steps, element_shape=(2,)), tf.constant(0.0, tf.float64))
        _, results, waited = tf.while_loop(lambda index, *_: index < steps, step, start, parallel_iterations=1)
        return results.stack(), waited

    def _step(self, x: Any, y: Any, w: Any, count: Any) -> Any:
        """One step of one replica: float64 (3,): its part of the loss, the norm, seconds of waiting."""
        x, y, w = self._process_group.share(x, y, w)
        loss, gradients = self._gradients(x, y, w, tf.cast(count, tf.float32))
        gradients, waited = self._process_group.summed(gradients)
        norm = tf.linalg.global_norm(gradients)
        told = norm
        if self._scaled:
            # Gradients too long for float16 are no fault: this step is left out, and the next ones are scaled less.
            scale = self._optimizer.dynamic_scale
            norm /= scale
            left_out = tf.math.is_finite(loss) & ~tf.math.is_finite(norm) & (scale > 1.0)
            told = tf.where(left_out, 0.0, norm)
        if self._clip_norm is not None:
            shorter = tf.minimum(1.0, self._clip_norm / (norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_ does
            gradients = [gradient * shorter for gradient in gradients]
        self._optimizer.apply(gradients, self._variables)
        return tf.stack([loss, tf.cast(told, tf.float64), waited])

    def _gradients_of_step(self, x: Any, y: Any, w: Any, count: Any) -> tuple[Any, list[Any]]:
        if self._accumulate == 1:
            return self._gradients_of_part(x, y, w, count)
        rows = tf.shape(x)[0]

        def part(index: Any, loss: Any, sums: Any) -> Any:
            start, end = index * rows // self._accumulate, (index + 1) * rows // self._accumulate
            more, gradients = self._gradients_of_part(x[start:end], y[start:end], w[start:end], count)
            return index + 1, loss + more, [a + b for a, b in zip(sums, gradients, strict=True)]

        nothing = [tf.zeros(variable.shape) for variable in self._variables]
        start = (0, tf.constant(0.0, tf.float64), nothing)
        # One after the other: that is what saves the memory.
        _, loss, sums = tf.while_loop(lambda index, *_: index < self._accumulate, part, start, parallel_iterations=1)
        return loss, sums

    def _gradients_of_part(self, x: Any, y: Any, w: Any, count: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            losses = w * self._loss(tf.cast(self._model(x, training=True), tf.float32), y, self._objective)
            total = tf.reduce_sum(losses) / count
            if self._model.losses:  # the project's regularizers; each part brings its share of them
                total += tf.add_n(self._model.losses) / (self._accumulate * self._process_group.all_replicas)
            if self._scaled:
                total = self._optimizer.scale_loss(total)
        variables = [variable.value for variable in self._variables]
        gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        loss = tf.reduce_sum(tf.cast(losses, tf.float64)) / tf.cast(count, tf.float64)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's is sparse
