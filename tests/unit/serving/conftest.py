"""A small project, real ONNX graphs for it, and a registry that is a folder."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving.app import create_app
from fullcircle.serving.model_reloader import ModelReloader


@pytest.fixture(scope="session")
def project() -> Project:
    return Project(
        name="small",
        owner="someone@example.com",
        columns=(Number("distance"), Number("wind", nullable=True), Category("carrier"), Number("delay", after=True)),
        target=Binary("late", positive="late"),
        time="time",
        row_id="id",
        torch=lambda inputs, params: None,
    )


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})


def write_graph(path: Path, weight: float = 1.0, *, distance: str = "distance") -> str:
    """sigmoid(weight * (distance / 1000 + wind or 0 + (carrier == "UA"))) as a graph of raw columns; its digest."""

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    def column(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [None, 1])

    nodes = [
        helper.make_node("Mul", [distance, "thousandth"], ["scaled"]),
        helper.make_node("IsNaN", ["wind"], ["calm"]),
        helper.make_node("Where", ["calm", "zero", "wind"], ["known"]),
        helper.make_node("Equal", ["carrier", "united"], ["is_united"]),
        helper.make_node("Cast", ["is_united"], ["as_number"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["scaled", "known", "as_number"], ["sum"]),
        helper.make_node("Mul", ["sum", "weight"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [column(distance, TensorProto.FLOAT), column("wind", TensorProto.FLOAT), column("carrier", TensorProto.STRING)],
        [column("probability", TensorProto.FLOAT)],
        [
            constant("thousandth", np.array([0.001], "float32")),
            constant("zero", np.array([0], "float32")),
            constant("weight", np.array([weight], "float32")),
            constant("united", np.array(["UA"], object)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def expected(distance: float, wind: float | None, carrier: str, weight: float = 1.0) -> float:
    logit = np.float32(weight) * (np.float32(distance) * np.float32(0.001) + np.float32(wind or 0) + (carrier == "UA"))
    return float(1 / (1 + np.exp(-logit)))


class FolderRegistry:
    """A registry in a folder: `champion` names a version, `<version>/graph.onnx` is its graph."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        pointer = self.folder / alias
        if not pointer.exists():
            return None
        known = json.loads(pointer.read_text())
        return ModelVersion(
            name=name, run_id="r", aliases=(alias,), created=datetime(2013, 4, 1, tzinfo=UTC), tags={}, **known
        )

    def graph(self, version: ModelVersion) -> Path:
        path = self.folder / version.version / "graph.onnx"
        if not path.exists():
            raise ModelUnavailable(f"version {version.version} has no graph")
        return path

    def release(
        self, version: str, weight: float = 1.0, *, digest: str | None = None, distance: str = "distance"
    ) -> None:
        actual = write_graph(self.folder / version / "graph.onnx", weight, distance=distance)
        (self.folder / "champion").write_text(json.dumps({"version": version, "digest": digest or actual}))


@pytest.fixture
def registry(tmp_path) -> FolderRegistry:
    (tmp_path / "registry").mkdir()
    return FolderRegistry(tmp_path / "registry")


@pytest.fixture
def reloader(settings, project, registry) -> ModelReloader:
    """Not started: tests call `check`."""
    return ModelReloader(settings, project, registry=registry)


@pytest.fixture
def log(project, tmp_path):
    with PredictionLog(tmp_path / "log", project.inputs, project.target.answers, background=False) as open_log:
        yield open_log


@pytest.fixture
def http(project, registry, reloader, log, tmp_path):
    """A test client of the application, with version 1 released."""
    registry.release("1")
    reloader.check()
    app = create_app(
        project, reloader, log, LabelLog(tmp_path / "log" / "labels", project.target), max_rows=1000, max_bytes=1 << 20
    )
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        yield client
