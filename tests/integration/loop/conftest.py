"""A real registry and store, and versions that are made in an instant."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def project() -> Project:
    return Project(
        name=f"p-{uuid.uuid4().hex[:8]}",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
    )


@pytest.fixture(scope="session")
def write_graph() -> Callable[[Path, float], Path]:
    """Writes a real graph: probability = sigmoid(slope * x)."""

    def write(path: Path, slope: float) -> Path:
        value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[None, 1])
        nodes = [helper.make_node("Mul", ["x", "slope"], ["z"]), helper.make_node("Sigmoid", ["z"], ["probability"])]
        weights = [helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope])]
        made = helper.make_graph(nodes, "test", [value("x")], [value("probability")], weights)
        onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        return path

    return write


@pytest.fixture
def make(
    settings: Settings, project: Project, tmp_path: Path, write_graph: Callable[[Path, float], Path]
) -> Callable[..., ModelVersion]:
    """Registers a new version, each time another real graph."""
    slopes = iter(range(1, 100))

    def once(verdict: str = "promote") -> ModelVersion:
        slope = float(next(slopes))
        path = write_graph(tmp_path / f"{slope}.onnx", slope)
        example = pd.DataFrame({"x": np.array([1.0, 2.0], dtype="float32")})
        with RunStore(settings).start(project, name="torch", kind="candidate") as run:
            return Registry(settings).register(
                project,
                run,
                path,
                digest=sha256_of(path),
                example=example,
                card="# Card",
                tags={"fullcircle.verdict": verdict, "fullcircle.data.digest": f"data-{slope:.0f}"},
            )

    return once
