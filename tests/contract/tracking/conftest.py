"""A real MLflow on SQLite, made once a session, and a small real graph: strings and numbers in."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.dataset import DataVersion, LeakageReport, Span, Split
from fullcircle.core.settings import Settings
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="session")
def tracker(settings: Settings) -> RunStore:
    return RunStore(settings)


@pytest.fixture(scope="session")
def registry(settings: Settings) -> Registry:
    return Registry(settings)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a name of its own, so that tests can share one store."""
    return Project(
        name=f"late-{uuid.uuid4().hex[:8]}",
        owner="ops@example.com",
        purpose="Which flights arrive late.",
        columns=(Category("carrier"), Number("distance", unit="mile", nullable=True)),
        target=Binary("late", positive="arrived late"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        folder=tmp_path,
    )


@pytest.fixture
def rows() -> pd.DataFrame:
    distance = np.array([100.0, np.nan, 2000.0], dtype="float32")
    return pd.DataFrame({"carrier": ["AA", "??", ""], "distance": distance, "late": [1, 0, 1], "id": ["a", "b", "c"]})


@pytest.fixture(scope="session")
def make_graph() -> Callable[[Path, float], Path]:
    """Writes probability = sigmoid(carrier code + slope * distance), raw columns of shape (rows, 1) in."""

    def make(path: Path, slope: float = -0.001) -> Path:
        nodes = [
            helper.make_node(
                "LabelEncoder",
                ["carrier"],
                ["code"],
                domain="ai.onnx.ml",
                keys_strings=["AA", "UA"],
                values_floats=[1.0, 2.0],
                default_float=0.0,
            ),
            helper.make_node("IsNaN", ["distance"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "distance"], ["known"]),
            helper.make_node("Mul", ["known", "slope"], ["scaled"]),
            helper.make_node("Add", ["code", "scaled"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ]
        inputs = [
            helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
        ]
        outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])]
        constants = [
            helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope]),
        ]
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
        graph = helper.make_graph(nodes, "late", inputs, outputs, constants)
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
        return path

    return make


@pytest.fixture
def version(project: Project) -> DataVersion:
    return DataVersion(
        project=project.name,
        digest="0123456789abcdef0123456789abcdef.dir",
        pointer="outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n",
        files=(("2013-01.parquet", "a" * 32), ("2013-02.parquet", "b" * 32)),
        rows=100,
        size_bytes=4096,
        start=datetime(2013, 1, 1, tzinfo=UTC),
        end=datetime(2013, 2, 28, 23, tzinfo=UTC),
        fingerprint="f" * 64,
    )


@pytest.fixture
def split() -> Split:
    def span(first: int, last: int) -> Span:
        start, end = datetime(2013, 1, first, tzinfo=UTC), datetime(2013, 1, last, tzinfo=UTC)
        return Span(start=start, end=end, rows=10, summary={"positives": 3.0})

    report = LeakageReport(leaks=(), strongest=(("distance", 0.6),))
    return Split(train=span(1, 10), validation=span(11, 20), test=span(21, 31), leakage=report)
