"""The graph for MLflow's server answers vectors exactly as the graph answers columns, bodies of If included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from fullcircle.tracking.registry.mlflow_model import to_mlflow_graph


def save(path: Path, names: list[str]) -> Path:
    """probability = If(sum(a) > 0, then a + b, else a - b): the bodies use the graph's inputs."""
    last = names[-1]
    bodies = {
        branch: helper.make_graph(
            [helper.make_node(kind, ["a", last], [branch])],
            branch,
            [],
            [helper.make_tensor_value_info(branch, TensorProto.FLOAT, [None, 1])],
        )
        for branch, kind in (("then_branch", "Add"), ("else_branch", "Sub"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["a"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["probability"], **bodies),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    graph = helper.make_graph(nodes, "g", inputs, outputs, [zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_the_twin_gives_the_same_answers(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", ["a", "b"])
    served = to_mlflow_graph(path)
    onnx.checker.check_model(served)
    columns = {name: np.array([[1.0], [2.0]], dtype="float32") * sign for name, sign in (("a", -1), ("b", 3))}
    expected = onnxruntime.InferenceSession(str(path)).run(None, columns)[0]
    session = onnxruntime.InferenceSession(served.SerializeToString())
    vectors = {name: values.reshape(-1) for name, values in columns.items()}
    np.testing.assert_array_equal(session.run(None, vectors)[0], expected)


def test_a_graph_with_one_input_is_its_own_twin(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", ["a"])
    assert to_mlflow_graph(path).SerializeToString() == onnx.load(str(path)).SerializeToString()
