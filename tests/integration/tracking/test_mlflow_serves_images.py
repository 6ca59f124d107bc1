"""Plain `mlflow models serve` on a model whose input is an image: tensors in, the graph's own answers out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.project import Binary, Image, Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

IMAGES = np.random.default_rng(8).uniform(-2, 2, (3, 2, 3, 1)).astype("float32")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        name="scans",
        owner="o",
        columns=(Image("scan", shape=(2, 3, 1), low=-2, high=2),),
        target=Binary("ill", positive="ill"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        folder=tmp_path,
    )


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["scan", "axes"], ["mean"], keepdims=0),
            helper.make_node("Reshape", ["mean", "column"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("scan", TensorProto.FLOAT, ["rows", 2, 3, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
        ],
    )
    onnx.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(tmp_path / "graph.onnx")
    )
    return tmp_path / "graph.onnx"


@pytest.mark.slow
def test_mlflow_serves_an_image_model_with_the_graphs_own_answers(
    project: Project, graph: Path, tmp_path: Path, mlflow_answers: Callable[..., Any]
) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    registry = Registry(settings)
    example = pd.DataFrame({"scan": list(IMAGES.reshape(3, 6))})
    with RunStore(settings).start(project, name="torch", kind="candidate") as run:
        made = registry.register(project, run, graph, digest=sha256_of(graph), example=example, card="c", tags={})
    registry.set_alias("scans", "champion", made.version)

    predictions = mlflow_answers(settings, "scans", {"inputs": {"scan": IMAGES.tolist()}})

    expected = onnxruntime.InferenceSession(str(graph)).run(["probability"], {"scan": IMAGES})[0]
    got = np.array(predictions["probability"], dtype="float32")
    np.testing.assert_array_equal(expected, got)
