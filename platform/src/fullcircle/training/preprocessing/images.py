"""Preprocesses images: each channel scaled to zero mean and unit variance of the training rows, nothing else.

The features keep the images' shape, channels last. Mean and scale are float32, and the graph does the same two
operations in the same order, so graph and numpy agree to the last bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Image
from fullcircle.core.row_tensors import pixels
from fullcircle.training.onnx_file import OPSET, save_normalized

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FIT_ROWS = 1024
"""Images that are summed up at a time: bounds the memory of large ones."""


class ImagePreprocessor:
    """A fitted preprocessor of one image column (`core.records.training.Preprocessor`). Made by `fit_images`.

    Attributes:
        mean, inverse: float32 (channels,): features are (pixel - mean) * inverse.
    """

    def __init__(self, column: Image, mean: NDArray[np.float32], inverse: NDArray[np.float32]) -> None:
        self.column = column
        self.mean = mean
        self.inverse = inverse

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, row-major: `pixel[0,0,0]` is the first row, first column, first channel."""
        height, width, channels = self.column.shape
        return tuple(f"pixel[{y},{x},{c}]" for y in range(height) for x in range(width) for c in range(channels))

    @property
    def digest(self) -> str:
        """SHA-256 of all that was fitted: mean and scale of each channel."""
        return hashlib.sha256(
            f"{self.column.shape}".encode() + self.mean.tobytes() + self.inverse.tobytes()
        ).hexdigest()

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Raw rows to float32 (rows, height, width, channels). Raises DataUnavailable where a pixel is not finite."""
        raw = _finite(self.column, frame)
        return (raw - self.mean) * self.inverse

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph: the image (rows, height, width, channels) to `features` of the same shape."""
        from onnx import TensorProto, helper, numpy_helper

        shape: list[str | int | None] = ["rows", *self.column.shape]
        graph = helper.make_graph(
            [
                helper.make_node("Sub", [self.column.name, "preprocessing/mean"], ["preprocessing/centred"]),
                helper.make_node("Mul", ["preprocessing/centred", "preprocessing/inverse"], ["features"]),
            ],
            "preprocessing",
            [helper.make_tensor_value_info(self.column.name, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
            [
                numpy_helper.from_array(self.mean, "preprocessing/mean"),
                numpy_helper.from_array(self.inverse, "preprocessing/inverse"),
            ],
        )
        save_normalized(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), path)


def fit_images(column: Image, frame: pd.DataFrame) -> ImagePreprocessor:
    """Mean and standard deviation of each channel over the training rows, at least one; a constant channel keeps its
    scale.

    Raises:
        DataUnavailable: a pixel is not finite.
    """
    channels = column.shape[2]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for start in range(0, len(frame), FIT_ROWS):
        part = _finite(column, frame.iloc[start : start + FIT_ROWS]).reshape(-1, channels).astype(np.float64)
        if start == 0:
            # Around one value of the data the squares stay small, so that nothing cancels out.
            origin = part.mean(axis=0)
        total += (part - origin).sum(axis=0)
        squares += ((part - origin) ** 2).sum(axis=0)
        count += len(part)
    offset = total / count
    deviation = np.sqrt(np.maximum(squares / count - offset**2, 0.0))
    inverse = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 1.0)
    return ImagePreprocessor(column, (origin + offset).astype(np.float32), inverse.astype(np.float32))


def _finite(column: Image, frame: pd.DataFrame) -> NDArray[np.float32]:
    try:
        raw = pixels(frame[column.name], column)
    except ValueError as error:
        raise DataUnavailable(f"the rows do not fit the project's columns ({error})") from error
    if not np.isfinite(raw).all():
        row = int(np.argmin(np.isfinite(raw).all(axis=1)))
        raise DataUnavailable(f"row {row} of the image {column.name!r} has pixels that are not finite")
    return raw.reshape(-1, *column.shape)
