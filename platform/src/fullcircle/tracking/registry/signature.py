"""The MLflow signature of a model: columns of a table, or the tensor of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullcircle.core.project import Category, Image, Project
from fullcircle.core.row_tensors import raw_frame, tensors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from numpy.typing import NDArray

EXAMPLES = 3
"""Rows that are kept as input example."""


def signature(project: Project) -> ModelSignature:
    """Names, types and shapes: a column specification a raw column, or one tensor specification of the image."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    if is_image(project):
        images: list[ColSpec | TensorSpec] = [
            TensorSpec(np.dtype("float32"), (-1, *column.shape), column.name)
            for column in project.inputs
            if isinstance(column, Image)
        ]
        return ModelSignature(Schema(images), Schema([TensorSpec(np.dtype("float32"), (-1, 1), "probability")]))
    # Double, though the graph takes float: MLflow refuses float64 frames and integers for a float column, and its
    # ONNX flavour casts double to float itself.
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if isinstance(column, Category) else DataType.double, column.name)
        for column in project.inputs
    ]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.float, "probability")]))


def input_example(project: Project, frame: pd.DataFrame) -> pd.DataFrame | dict[str, NDArray[np.generic]]:
    """A few raw rows in the form that the signature asks for: a frame, or {image: (rows, height, width, channels)}."""
    rows = frame.head(EXAMPLES)
    return tensors(rows, project.inputs) if is_image(project) else raw_frame(rows, project.inputs)


def is_image(project: Project) -> bool:
    """Whether the model's one input is an image."""
    return any(isinstance(column, Image) for column in project.inputs)
