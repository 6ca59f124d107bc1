"""A graph of an image: its signature is read from the file, and rows of another shape are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.errors import BadRequest, ModelUnavailable
from fullcircle.core.project import Category, Image, Number
from fullcircle.graph import onnx_session
from fullcircle.graph.onnx_session import Graph, kind


def write(path, shape=("rows", 2, 3, 1)):
    """sigmoid(the last pixel) of an image."""
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["scan", "flat"], ["pixels"]),
            helper.make_node("Gather", ["pixels", "last"], ["logit"], axis=1),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "toy",
        [helper.make_tensor_value_info("scan", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        [
            helper.make_tensor("flat", TensorProto.INT64, [2], [-1, 6]),
            helper.make_tensor("last", TensorProto.INT64, [1], [5]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def graph(tmp_path) -> Graph:
    return Graph.load(write(tmp_path / "graph.onnx"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(40, 2, 3, 1)).astype("float32")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_signature_says_the_size_of_the_image(graph):
    assert graph.inputs == (("scan", "float32[2,3,1]"),)
    assert [kind(column) for column in (Number("a"), Category("b"), Image("c", shape=(2, 3, 1)))] == [
        "float32",
        "string",
        "float32[2,3,1]",
    ]


def test_images_are_answered_as_tensors_flat_rows_and_frames_alike(graph, images):
    wanted = sigmoid(images[:, 1, 2, 0])

    np.testing.assert_allclose(wanted, graph.predict({"scan": images}), rtol=1e-6)
    np.testing.assert_allclose(wanted, graph.predict({"scan": images.reshape(40, 6)}), rtol=1e-6)
    np.testing.assert_allclose(wanted, graph(pd.DataFrame({"scan": list(images.reshape(40, 6))})), rtol=1e-6)


def test_large_images_are_scored_a_few_at_a_time_with_the_same_answers(tmp_path, images, monkeypatch):
    monkeypatch.setattr(onnx_session, "CHUNK_VALUES", 40)  # six numbers an image: six rows a chunk
    graph = Graph.load(write(tmp_path / "graph.onnx"))

    assert graph._chunk_rows == 6
    answers = graph(pd.DataFrame({"scan": list(images.reshape(40, 6))}))
    np.testing.assert_allclose(sigmoid(images[:, 1, 2, 0]), answers, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (4, 5), (6,), (4, 2, 3)])
def test_an_image_of_another_shape_is_refused_with_the_field(graph, shape):
    with pytest.raises(BadRequest, match="column 'scan' must have shape \\(rows, 2, 3, 1\\)") as refused:
        graph.predict({"scan": np.zeros(shape, "float32")})

    assert refused.value.field == "scan"


def test_no_rows_get_no_answers(graph):
    assert graph.predict({"scan": np.zeros((0, 2, 3, 1), "float32")}).shape == (0,)


def test_a_graph_of_images_of_any_size_is_not_ours(tmp_path):
    with pytest.raises(ModelUnavailable, match="not an image of one size"):
        Graph.load(write(tmp_path / "graph.onnx", shape=("rows", "height", "width", 1)))
