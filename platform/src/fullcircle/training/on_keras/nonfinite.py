"""Where a number first went bad: the step is done once more, eagerly, layer by layer."""

from __future__ import annotations

from typing import Any

from fullcircle.training.on_keras.backend import tf
from fullcircle.training.ports import Chunk, Diagnosis


def diagnose(model: Any, chunk: Chunk) -> Diagnosis | None:
    """Look at the forward pass, the loss and the gradients of the chunk's one step; None when all are finite."""
    x, y, w = (tf.constant(values[0]) for values in (chunk.x, chunk.y, chunk.w))
    with tf.GradientTape() as tape:
        logits = tf.reshape(tf.cast(model(x, training=True), tf.float32), (-1,))
        losses = w * tf.nn.sigmoid_cross_entropy_with_logits(y, logits)
        loss = tf.reduce_sum(losses) / float(chunk.counts[0])
    if rows := _bad_rows(logits):
        return Diagnosis(layer=model.layers[-1].name, where="forward", rows=rows)
    if rows := _bad_rows(losses):
        return Diagnosis(layer=model.layers[-1].name, where="loss", rows=rows)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if gradient is not None and not bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(gradient)))):
            return Diagnosis(layer=variable.path, where="backward", rows=())
    return None


def _bad_rows(values: Any) -> tuple[int, ...]:
    good = tf.reduce_all(tf.reshape(tf.math.is_finite(values), (tf.shape(values)[0], -1)), axis=1)
    return tuple(int(row) for row in tf.where(~good)[:, 0].numpy())
