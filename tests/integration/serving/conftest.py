"""A project on disk, a real MLflow registry on SQLite, and small real graphs registered in it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.settings import Settings

PROJECT = """
    from fullcircle.core.project import Binary, Category, Number, Project

    project = Project(
        name="small",
        owner="someone@example.com",
        columns=(Number("distance"), Number("wind", nullable=True), Category("carrier")),
        target=Binary("late", positive="late"),
        time="time",
        row_id="id",
        torch=lambda inputs, params: None,
    )
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("projects") / "small"
    folder.mkdir()
    (folder / "project.py").write_text(textwrap.dedent(PROJECT))
    return load_project("small", folder.parent)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


def _rows(count: int, start: str = "2013-04-01") -> pd.DataFrame:
    """Raw rows ten minutes apart, some with a missing wind."""
    index = np.arange(count)
    return pd.DataFrame(
        {
            "id": [f"{start}-{number}" for number in index],
            "time": pd.date_range(start, periods=count, freq="10min", tz="UTC"),
            "distance": (index % 2500).astype(float),
            "wind": np.where(index % 7 == 0, np.nan, index % 5),
            "carrier": np.where(index % 3 == 0, "UA", "B6"),
        }
    )


def _answers(frame: pd.DataFrame, weight: float) -> np.ndarray:
    """What the graph of that weight says of raw rows."""
    logit = weight * (frame["distance"] / 1000 + frame["wind"].fillna(0) + (frame["carrier"] == "UA") - 2)
    return 1 / (1 + np.exp(-logit.to_numpy()))


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pd.DataFrame]:
    """`make_rows(count, start)`: raw rows."""
    return _rows


@pytest.fixture(scope="session")
def answers() -> Callable[..., np.ndarray]:
    """`answers(frame, weight)`: what the graph of that weight says."""
    return _answers


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory) -> Callable[[float], Path]:
    """`graph_file(weight)`: the graph of that weight as a file that no registry knows."""

    def make(weight: float) -> Path:
        path = tmp_path_factory.mktemp("graph") / "model.onnx"
        _write_graph(path, weight)
        return path

    return make


def _write_graph(path: Path, weight: float) -> None:
    """sigmoid(weight * (distance / 1000 + wind or 0 + (carrier == "UA") - 2)) as a graph of raw columns."""
    constants = {"thousandth": 0.001, "zero": 0.0, "two": -2.0, "weight": weight}
    steps = [
        ("Mul", ["distance", "thousandth"], "scaled", {}),
        ("IsNaN", ["wind"], "calm", {}),
        ("Where", ["calm", "zero", "wind"], "known", {}),
        ("Equal", ["carrier", "united"], "is_united", {}),
        ("Cast", ["is_united"], "as_number", {"to": TensorProto.FLOAT}),
        ("Sum", ["scaled", "known", "as_number", "two"], "sum", {}),
        ("Mul", ["sum", "weight"], "logit", {}),
        ("Sigmoid", ["logit"], "probability", {}),
    ]
    kinds = {"distance": TensorProto.FLOAT, "wind": TensorProto.FLOAT, "carrier": TensorProto.STRING}
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in steps],
        "small",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
        [
            *(numpy_helper.from_array(np.array([value], "float32"), name) for name, value in constants.items()),
            numpy_helper.from_array(np.array(["UA"], object), "united"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10), path)


@pytest.fixture(scope="module")
def release(project, settings, tmp_path_factory) -> Callable[[float], ModelVersion]:
    """`release(weight)`: register a graph as the next version and make it the champion."""
    from fullcircle.core.system.files import sha256_of
    from fullcircle.tracking.registry.model_registry import Registry
    from fullcircle.tracking.runs.run_store import RunStore

    folder = tmp_path_factory.mktemp("graphs")
    registry = Registry(settings)

    def make(weight: float) -> ModelVersion:
        path = folder / f"{weight}.onnx"
        _write_graph(path, weight)
        with RunStore(settings).start(project, name=f"weight {weight}", kind="candidate") as run:
            made = registry.register(
                project,
                run,
                path,
                digest=sha256_of(path),
                example=_rows(3),
                card="# small",
                tags={"weight": str(weight)},
            )
        registry.set_alias(project.name, CHAMPION, made.version)
        return registry.version(project.name, made.version)

    return make
