"""The graph at run time: digest, inputs, answers, and what it says of bad rows and bad files."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.errors import BadRequest, ModelUnavailable
from fullcircle.graph.onnx_session import CHUNK_ROWS, Graph


def write(path: Path, output: str = "probability", kind: int = TensorProto.FLOAT) -> Path:
    """sigmoid(x + 2 if colour is "red" else x), the way an exported graph looks."""
    rows_of = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("OneHotEncoder", ["colour"], ["hot"], domain="ai.onnx.ml", cats_strings=["red"], zeros=1),
            helper.make_node("Squeeze", ["hot", "axis"], ["flag"]),
            helper.make_node("Cast", ["x"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["flag", "two"], ["lift"]),
            helper.make_node("Add", ["number", "lift"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], [output]),
        ],
        "toy",
        [rows_of("x", kind, ["rows", 1]), rows_of("colour", TensorProto.STRING, ["rows", 1])],
        [rows_of(output, TensorProto.FLOAT, ["rows", 1])],
        [
            helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "graph.onnx")


@pytest.fixture
def graph(path: Path) -> Graph:
    return Graph.load(path)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_digest_is_that_of_the_file(graph: Graph, path: Path) -> None:
    assert graph.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Graph.load(path, digest=graph.digest).digest == graph.digest


def test_inputs_are_the_raw_columns(graph: Graph) -> None:
    assert graph.inputs == (("x", "float32"), ("colour", "string"))


def test_it_answers_tensors_of_either_shape(graph: Graph) -> None:
    x, colour = np.array([0.0, 1.0], dtype=np.float32), np.array(["red", ""], dtype=object)
    flat = graph.predict({"x": x, "colour": colour})
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, sigmoid(np.array([2.0, 1.0])), rtol=1e-6)
    tall = graph.predict({"x": x.reshape(-1, 1), "colour": np.array([["red"], [""]]), "more": x})
    assert tall.tolist() == flat.tolist()


def test_it_answers_frames_longer_than_a_chunk(graph: Graph) -> None:
    rows = CHUNK_ROWS * 2 + 5
    frame = pd.DataFrame({"colour": ["red", None] * (rows // 2) + ["blue"], "x": np.linspace(-3, 3, rows)})
    expected = sigmoid(frame["x"].to_numpy() + 2 * (frame["colour"] == "red").to_numpy())
    np.testing.assert_allclose(graph(frame), expected, rtol=1e-5)
    assert graph(frame.iloc[:0]).shape == (0,)


def test_a_missing_column_is_named(graph: Graph) -> None:
    with pytest.raises(BadRequest, match="column 'colour' is missing") as caught:
        graph.predict({"x": np.zeros(1)})
    assert caught.value.field == "colour"
    with pytest.raises(BadRequest, match="columns are missing: x, colour"):
        graph(pd.DataFrame({"y": [1]}))


def test_a_column_that_holds_no_numbers_is_named(graph: Graph) -> None:
    with pytest.raises(BadRequest, match="column 'x' must be numbers") as caught:
        graph.predict({"x": np.array(["tall"], dtype=object), "colour": np.array(["red"])})
    assert caught.value.field == "x"


def test_columns_of_different_lengths_are_refused(graph: Graph) -> None:
    with pytest.raises(BadRequest, match=r"differ in their number of rows: \[1, 2\]"):
        graph.predict({"x": np.zeros(2), "colour": np.array(["red"])})


def test_a_changed_file_is_refused(graph: Graph, path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelUnavailable, match=f"not {graph.digest[:12]} as registered"):
        Graph.load(path, digest=graph.digest)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 50])
def test_what_is_not_a_graph_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelUnavailable) as caught:
        Graph.load(tmp_path / "bad.onnx")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"cannot read the graph .*No such file"):
        Graph.load(tmp_path / "none.onnx")


def test_a_graph_of_another_shape_is_refused(tmp_path: Path) -> None:
    whole = onnx.load(write(tmp_path / "a.onnx", output="share"))
    whole.graph.node.append(helper.make_node("Cast", ["share"], ["answer"], to=TensorProto.INT64))
    whole.graph.output[0].CopyFrom(helper.make_tensor_value_info("answer", TensorProto.INT64, ["rows", 1]))
    onnx.save(whole, tmp_path / "a.onnx")
    with pytest.raises(ModelUnavailable, match="has no output of one number a row"):
        Graph.load(tmp_path / "a.onnx")
    with pytest.raises(ModelUnavailable, match=r"input 'x' is a tensor.int64., not float32 or string"):
        Graph.load(write(tmp_path / "b.onnx", kind=TensorProto.INT64))


def test_many_threads_may_share_one_graph(graph: Graph) -> None:
    def one(x: float) -> float:
        return float(graph.predict({"x": np.array([x]), "colour": np.array(["red"])})[0])

    xs = np.linspace(-2, 2, 400)
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose(list(pool.map(one, xs)), sigmoid(xs + 2), rtol=1e-5)
