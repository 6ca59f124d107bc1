"""The ONNX graph as MLflow's own model server needs it: the same graph behind one reshape a column.

MLflow's ONNX flavour hands each column of a data frame over as a vector, shape (rows,); our graphs take columns of
shape (rows, 1), which ONNX Runtime then refuses ("Invalid rank"). The one made here takes vectors and reshapes them. A
graph with one input stays as it is: there MLflow hands over a matrix of one column, or the tensor of the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_SHAPE = "fullcircle_one_column"
_SUFFIX = "__column"


def to_mlflow_graph(graph: Path) -> ModelProto:
    """The graph in this file with inputs of shape (rows,) in place of (rows, 1)."""
    import onnx

    model = onnx.load(str(graph))
    if len(model.graph.input) < 2:
        return model
    names = {each.name for each in model.graph.input}
    _rename_uses(model.graph, names)
    for each in model.graph.input:
        del each.type.tensor_type.shape.dim[1:]
    shape = onnx.helper.make_tensor(_SHAPE, onnx.TensorProto.INT64, [2], [-1, 1])
    model.graph.initializer.append(shape)
    front = [onnx.helper.make_node("Reshape", [name, _SHAPE], [name + _SUFFIX]) for name in _in_order(model, names)]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*front, *rest])
    return model


def _in_order(model: ModelProto, names: set[str]) -> Iterable[str]:
    return [each.name for each in model.graph.input if each.name in names]


def _rename_uses(graph: GraphProto, names: set[str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = name + _SUFFIX
        for attribute in node.attribute:  # bodies of If and Loop see the outer names
            for body in [attribute.g, *attribute.graphs]:
                _rename_uses(body, names)
