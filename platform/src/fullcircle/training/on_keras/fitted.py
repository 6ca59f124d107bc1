"""The trained Keras model: it predicts, and is exported as an ONNX graph in one file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import ExportFailed
from fullcircle.core.project import Shape
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.tasks import Link
from fullcircle.training.on_keras.backend import tf
from fullcircle.training.on_keras.links import LINKS
from fullcircle.training.on_keras.models import predict_in_chunks
from fullcircle.training.onnx_file import OPSET, save_normalized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class KerasFitted:
    """A trained Keras model (`core.records.training.Fitted`)."""

    framework = "keras"

    def __init__(
        self, model: Any, shape: Shape, link: Link, history: tuple[EpochMetrics, ...], best_epoch: int
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self._width = link.numbers
        self._signature = [tf.TensorSpec((None, *shape), tf.float32, name="features")]
        self._answer = tf.function(
            lambda features: {"answers": LINKS[link.name](model(features, training=False), link)},
            input_signature=self._signature,
            autograph=False,
        )

    def answers(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers, float32 (rows,) or (rows, numbers) (`core.records.training.Fitted`)."""
        found = predict_in_chunks(lambda rows: self._answer(rows)["answers"], features, self._width)
        return found[:, 0] if self._width == 1 else found

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `answers` (rows, numbers).

        Raises:
            ExportFailed: tf2onnx is missing or cannot write the model.
        """
        try:
            import tf2onnx

            logging.getLogger("tf2onnx").setLevel(logging.ERROR)
            model, _ = tf2onnx.convert.from_function(self._answer, input_signature=self._signature, opset=OPSET)
            save_normalized(model, path)
        except Exception as error:
            raise ExportFailed(f"the Keras model cannot be written as ONNX ({str(error).splitlines()[:1]})") from error
