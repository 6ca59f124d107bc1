"""The fitted ColumnTransformer as ONNX, and the one transformer that scikit-learn and skl2onnx do not share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from fullcircle.core.project import Category, Column
from fullcircle.training.onnx_file import OPSET, OPSET_ML, settle


class MissingFlags(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """1.0 where a number is missing, else 0.0; float32. (`SimpleImputer(add_indicator=True)` does not export.)"""

    def fit(self, x: Any, y: None = None) -> MissingFlags:
        """Nothing to learn but the number of columns."""
        self.n_features_in_ = np.asarray(x).shape[1]
        return self

    def transform(self, x: Any) -> NDArray[np.float32]:
        """(rows, columns) to flags of the same shape."""
        return np.isnan(np.asarray(x, dtype=np.float32)).astype(np.float32)


def save(transformer: Any, columns: Sequence[Column], path: Path) -> None:
    """Write a fitted ColumnTransformer as one ONNX file: raw columns in, `features` out."""
    from skl2onnx import convert_sklearn, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    update_registered_converter(MissingFlags, "FullcircleMissingFlags", _flags_shape, _flags_graph, overwrite=True)
    inputs = [
        (column.name, StringTensorType([None, 1]) if isinstance(column, Category) else FloatTensorType([None, 1]))
        for column in columns
    ]
    model = convert_sklearn(
        transformer,
        name="preprocessing",
        initial_types=inputs,
        final_types=[("features", FloatTensorType([None, None]))],
        target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML},
    )
    settle(model, path)


def _flags_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    width = sum(variable.type.shape[1] for variable in operator.inputs)
    operator.outputs[0].type = FloatTensorType([None, width])


def _flags_graph(scope: Any, operator: Any, container: Any) -> None:
    from skl2onnx.algebra.onnx_ops import OnnxCast, OnnxConcat, OnnxIsNaN
    from skl2onnx.proto import onnx_proto

    inputs = list(operator.inputs)
    values = inputs[0] if len(inputs) == 1 else OnnxConcat(*inputs, axis=1, op_version=OPSET)
    flags = OnnxCast(
        OnnxIsNaN(values, op_version=OPSET),
        to=onnx_proto.TensorProto.FLOAT,
        op_version=OPSET,
        output_names=operator.outputs,
    )
    flags.add_to(scope, container)
