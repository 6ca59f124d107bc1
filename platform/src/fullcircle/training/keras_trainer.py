"""The Keras trainer: one graph call an epoch on TensorFlow, checkpoints as plain arrays."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import ExportFailed, UsageError
from fullcircle.core.models import Arrays, EpochMetrics, OnEpoch
from fullcircle.core.project import ModelFunction, Training
from fullcircle.training.checkpoints import Tensors
from fullcircle.training.epochs import fit_epochs
from fullcircle.training.onnx_file import OPSET, settle
from fullcircle.training.parameters import for_framework
from fullcircle.training.quiet import native_stderr_aside
from fullcircle.training.weighting import Weights, require_both_classes, weights

# Both are read once, at import: another backend would train elsewhere, oneDNN would round otherwise.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with native_stderr_aside():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for a GPU now, and complains now

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 16384


class KerasTrainer:
    """Fits the project's Keras model (`core.models.Trainer`)."""

    framework = "keras"

    def fit(
        self, build: ModelFunction, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> KerasFitted:
        """Train until `patience` epochs brought nothing or `epochs` are done.

        Raises:
            UsageError: Keras runs on another backend than TensorFlow, or the model function fails or returns
                something else than one logit a row; before training.
            TrainingFailed: one class alone in a part of the rows, or a loss that is not finite, naming the epoch.
            HomeUnwritable: no checkpoint can be written.
        """
        if keras.backend.backend() != "tensorflow":
            raise UsageError(
                f"Keras runs on {keras.backend.backend()}, but is trained on tensorflow", hint="unset KERAS_BACKEND"
            )
        params = for_framework(params, self.framework)
        require_both_classes(arrays)
        keras.utils.set_random_seed(params.seed)
        model = _built(build, arrays.x_train.shape[1], params.extra)
        class_weights = weights(arrays.y_train, balanced=params.class_weights)
        learner = _KerasLearner(model, arrays, params, class_weights)
        history, best = fit_epochs(learner, arrays, params, class_weights, folder=checkpoints, on_epoch=on_epoch)
        return KerasFitted(model, arrays.x_train.shape[1], class_weights.shift, history, best)


class KerasFitted:
    """A trained Keras model (`core.models.Fitted`)."""

    framework = "keras"

    def __init__(
        self, model: Any, inputs: int, shift: float, history: tuple[EpochMetrics, ...], best_epoch: int
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self._signature = [tf.TensorSpec((None, inputs), tf.float32, name="features")]
        self._answer = tf.function(
            lambda features: {"probability": tf.sigmoid(model(features, training=False) - shift)},
            input_signature=self._signature,
            autograph=False,
        )

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,)."""
        return _chunked(lambda chunk: self._answer(chunk)["probability"], features)

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, features) to `probability` (rows, 1).

        Raises:
            ExportFailed: tf2onnx is missing or cannot write the model.
        """
        try:
            import tf2onnx

            logging.getLogger("tf2onnx").setLevel(logging.ERROR)
            model, _ = tf2onnx.convert.from_function(self._answer, input_signature=self._signature, opset=OPSET)
            settle(model, path)
        except Exception as error:
            raise ExportFailed(f"the Keras model cannot be written as ONNX ({str(error).splitlines()[:1]})") from error


class _KerasLearner:
    framework = "keras"

    def __init__(self, model: Any, arrays: Arrays, params: Training, class_weights: Weights) -> None:
        self.architecture = _architecture(model)
        self._model = model
        self._batch = params.batch_size
        self._optimizer = keras.optimizers.Adam(learning_rate=params.learning_rate)
        self._optimizer.build(model.trainable_variables)
        self._rows = (
            tf.constant(arrays.x_train),
            tf.constant(arrays.y_train.reshape(-1, 1)),
            tf.constant(class_weights.rows(arrays.y_train).reshape(-1, 1)),
        )
        self._epoch = tf.function(self._one_epoch)
        self._logits = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)

    def epoch(self, number: int, order: NDArray[np.int64]) -> float:
        return float(self._epoch(*self._rows, tf.constant(order)))

    def _one_epoch(self, x: Any, y: Any, w: Any, order: Any) -> Any:
        """All batches of an epoch in one graph: no return to Python between steps."""
        total = tf.constant(0.0, tf.float64)
        weight = tf.constant(0.0, tf.float64)
        for start in tf.range(0, tf.size(order), self._batch):
            rows = order[start : start + self._batch]
            labels, row_weights = tf.gather(y, rows), tf.gather(w, rows)
            with tf.GradientTape() as tape:
                logits = self._model(tf.gather(x, rows), training=True)
                losses = row_weights * tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, self._model.trainable_variables)
            self._optimizer.apply(gradients, self._model.trainable_variables)
            total += tf.cast(tf.reduce_sum(losses), tf.float64)
            weight += tf.cast(tf.reduce_sum(row_weights), tf.float64)
        return total / weight

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return _chunked(self._logits, features)

    def weights(self) -> Tensors:
        # `variables` has the seeds of dropout too: without them a resumed fit would go another way.
        return _copies("model", self._model.variables)

    def state(self) -> Tensors:
        return {**self.weights(), **_copies("optimizer", self._optimizer.variables)}

    def restore(self, state: Tensors) -> None:
        for index, variable in enumerate(self._model.variables):
            variable.assign(state[f"model/{index:04d}"])
        for index, variable in enumerate(self._optimizer.variables):
            if f"optimizer/{index:04d}" in state:
                variable.assign(state[f"optimizer/{index:04d}"])


def _built(build: ModelFunction, inputs: int, extra: Mapping[str, Any]) -> Any:
    try:
        model = build(inputs, extra)
    except Exception as error:
        raise UsageError(
            f"the Keras model function failed ({type(error).__name__}: {error})", hint="mend it in project.py"
        ) from error
    if not isinstance(model, keras.Model):
        raise UsageError(f"the Keras model function must return a keras.Model, got {type(model).__name__}")
    expected = f"float32 (rows, {inputs}) to one logit a row, (rows, 1)"
    try:
        answer = model(tf.zeros((2, inputs)), training=False)
    except Exception as error:
        raise UsageError(f"the Keras model must take {expected}; it failed ({error})") from error
    shape = tuple(answer.shape) if hasattr(answer, "shape") else type(answer).__name__
    if shape != (2, 1):
        raise UsageError(f"the Keras model must take {expected}; for 2 rows it gave {shape} instead of (2, 1)")
    return model


def _architecture(model: Any) -> str:
    """The layers as text, without the numbers that Keras counts names up with: they differ from process to process."""
    try:
        layers = model.to_json()
    except Exception:  # noqa: BLE001 - a model with layers of its own may not know how; its variables will do
        layers = type(model).__name__
    shapes = [(variable.path.rpartition("/")[2], tuple(variable.shape)) for variable in model.variables]
    return re.sub(r"_\d+(?=[\"/])", "", f"{layers} {shapes}")


def _copies(kind: str, variables: Any) -> Tensors:
    return {f"{kind}/{index:04d}": variable.value.numpy().copy() for index, variable in enumerate(variables)}


def _chunked(answer: Any, features: NDArray[np.float32]) -> NDArray[np.float32]:
    result = np.empty(len(features), dtype=np.float32)
    for start in range(0, len(features), CHUNK_ROWS):
        chunk = tf.constant(features[start : start + CHUNK_ROWS], tf.float32)
        result[start : start + len(chunk)] = answer(chunk).numpy().reshape(-1)
    return result
