"""Exports the fitted ColumnTransformer to ONNX, with one transformer of our own: flags of missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from fullcircle.core.project import Column
from fullcircle.training.onnx_file import OPSET, OPSET_ML, save_normalized


class MissingFlags(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """1.0 where a number is missing, else 0.0; float32. (`SimpleImputer(add_indicator=True)` does not export.)"""

    def fit(self, x: Any, y: None = None) -> MissingFlags:
        """Nothing to learn but the number of columns."""
        self.n_features_in_ = np.asarray(x).shape[1]
        return self

    def transform(self, x: Any) -> NDArray[np.float32]:
        """(rows, columns) to flags of the same shape."""
        return np.isnan(np.asarray(x, dtype=np.float32)).astype(np.float32)


INNER_PREFIX = "preprocessing/"
"""Before the name of every inner tensor, so that none can be that of a column."""


def save(transformer: Any, columns: Sequence[Column], fitted_names: Sequence[str], path: Path) -> None:
    """Write a fitted ColumnTransformer as one ONNX file: raw columns in, `features` out.

    Args:
        columns: the raw columns, whose names the graph's inputs get.
        fitted_names: the names by which the transformer was fitted on them, in the same order.
    """
    from skl2onnx import convert_sklearn, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    update_registered_converter(MissingFlags, "FullcircleMissingFlags", _flags_shape, _flags_graph, overwrite=True)
    inputs = [
        (name, StringTensorType([None, 1]) if column.is_text else FloatTensorType([None, 1]))
        for name, column in zip(fitted_names, columns, strict=True)
    ]
    model = convert_sklearn(
        transformer,
        name="preprocessing",
        initial_types=inputs,
        final_types=[("features", FloatTensorType([None, None]))],
        target_opset={"": OPSET, "ai.onnx.ml": OPSET_ML},
    )
    names = dict(zip(fitted_names, (column.name for column in columns), strict=True))
    _rename(model.graph, {**names, "features": "features"})
    save_normalized(model, path)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give tensors the names in `names`, and every other one the inner prefix; empty names stay: they mean "none"."""

    def renamed(name: str) -> str:
        return names.get(name, INNER_PREFIX + name) if name else name

    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        value.name = renamed(value.name)


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
