"""Plain `mlflow models serve` on a model whose input is an image: tensors in, the graph's own answers out."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.files import sha256_of
from fullcircle.core.processes import Service, free_port
from fullcircle.core.project import Binary, Image, Project
from fullcircle.core.settings import Settings
from fullcircle.tracking.registry import Registry
from fullcircle.tracking.runs import Tracker

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
    project: Project, graph: Path, tmp_path: Path
) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
    registry = Registry(settings)
    example = pd.DataFrame({"scan": list(IMAGES.reshape(3, 6))})
    with Tracker(settings).start(project, name="torch", kind="candidate") as run:
        made = registry.register(project, run, graph, digest=sha256_of(graph), example=example, card="c", tags={})
    registry.set_alias("scans", "champion", made.version)

    port = free_port()
    words = ["models", "serve", "-m", "models:/scans@champion", "--env-manager", "local", "--workers", "1"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", *words, *where]
    # MLflow starts uvicorn by name, from PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"MLFLOW_TRACKING_URI": settings.tracking_uri, "PATH": path}
    url = f"http://127.0.0.1:{port}"
    with Service(name="mlflow", command=command, ready_url=f"{url}/ping", log=tmp_path / "serve.log", env=env):
        answered = _post(f"{url}/invocations", {"inputs": {"scan": IMAGES.tolist()}})

    expected = onnxruntime.InferenceSession(str(graph)).run(["probability"], {"scan": IMAGES})[0]
    got = np.array(answered["predictions"]["probability"], dtype="float32")
    np.testing.assert_array_equal(expected, got)


def _post(url: str, body: object) -> dict[str, dict[str, list[list[float]]]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, dict[str, list[list[float]]]] = json.loads(response.read())
    return answer
