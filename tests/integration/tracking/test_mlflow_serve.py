"""Plain `mlflow models serve` on the registered model, as a user of MLflow would start it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.row_tensors import tensors
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

ROWS = pd.DataFrame({"carrier": ["AA", "??", ""], "distance": np.array([100.25, np.nan, 2000.0])})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        name="served",
        owner="o",
        columns=(Category("carrier"), Number("distance", nullable=True)),
        target=Binary("late", positive="late"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        folder=tmp_path,
    )


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    table = {"keys_strings": ["AA", "UA"], "values_floats": [1.0, 2.0], "default_float": 0.0}
    nodes = [
        helper.make_node("LabelEncoder", ["carrier"], ["code"], domain="ai.onnx.ml", **table),
        helper.make_node("IsNaN", ["distance"], ["missing"]),
        helper.make_node("Where", ["missing", "slope", "distance"], ["known"]),
        helper.make_node("Mul", ["known", "slope"], ["scaled"]),
        helper.make_node("Add", ["code", "scaled"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    inputs = [
        helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
    ]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])]
    slope = helper.make_tensor("slope", TensorProto.FLOAT, [1], [-0.001])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(
        helper.make_graph(nodes, "served", inputs, outputs, [slope]), opset_imports=opsets, ir_version=9
    )
    onnx.save(model, str(tmp_path / "graph.onnx"))
    return tmp_path / "graph.onnx"


@pytest.mark.slow
def test_mlflow_serves_the_champion_with_the_graphs_own_answers(
    project: Project, graph: Path, tmp_path: Path, mlflow_answers: Callable[..., Any]
) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    registry = Registry(settings)
    with RunStore(settings).start(project, name="torch", kind="candidate") as run:
        made = registry.register(project, run, graph, digest=sha256_of(graph), example=ROWS, card="c", tags={})
    registry.set_alias("served", "champion", made.version)

    split = json.loads(ROWS.to_json(orient="split", index=False))
    predictions = mlflow_answers(settings, "served", {"dataframe_split": split})
    session = onnxruntime.InferenceSession(str(graph))
    expected = session.run(["probability"], tensors(ROWS, project.inputs))[0].reshape(-1)
    assert [list(each) for each in predictions] == [["probability"]] * 3
    got = np.array([each["probability"] for each in predictions], dtype="float32")
    np.testing.assert_array_equal(got, expected)
