"""The MLflow signature of a model: columns of a table, or the tensor of an image, and the columns of its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullcircle.core.project import Project
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

    answers = project.target.answers.columns
    if is_image(project):
        number, text = np.dtype("float32"), np.dtype("str")
        images: list[ColSpec | TensorSpec] = [
            TensorSpec(number, (-1, *column.tensor_shape), column.name) for column in project.inputs
        ]
        tensors_out: list[ColSpec | TensorSpec] = [
            TensorSpec(number if each.is_number else text, (-1, 1), each.name) for each in answers
        ]
        return ModelSignature(Schema(images), Schema(tensors_out))
    # Double, though the graph takes float: MLflow refuses float64 frames and integers for a float column, and its
    # ONNX flavour casts double to float itself.
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if column.is_text else DataType.double, column.name) for column in project.inputs
    ]
    columns_out: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.float if each.is_number else DataType.string, each.name) for each in answers
    ]
    return ModelSignature(Schema(columns), Schema(columns_out))


def input_example(project: Project, frame: pd.DataFrame) -> pd.DataFrame | dict[str, NDArray[np.generic]]:
    """A few raw rows in the form that the signature asks for: a frame, or {image: (rows, height, width, channels)}."""
    rows = frame.head(EXAMPLES)
    return tensors(rows, project.inputs) if is_image(project) else raw_frame(rows, project.inputs)


def is_image(project: Project) -> bool:
    """Whether the model's one input is an image."""
    return any(column.kind == "image" for column in project.inputs)
