"""A request with an image: both protocols, the log, the client, and what is refused."""

from __future__ import annotations

import hashlib
import json

import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from starlette.testclient import TestClient

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Binary, Image, Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.row_tensors import pixels
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.lookup import find
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving.app import create_app
from fullcircle.serving.client import Client
from fullcircle.serving.model_reloader import ModelReloader
from fullcircle.serving.protocol import Protocol, metadata

SCAN = Image("scan", shape=(2, 3, 1), high=16)
COLOUR = Image("photo", shape=(2, 2, 3))
VALUES = [0.0, 1.0, 2.0, 3.0, 4.0, 16.0]
NESTED = [[[0.0], [1.0], [2.0]], [[3.0], [4.0], [16.0]]]


@pytest.fixture(scope="module")
def project() -> Project:
    return image_project(SCAN)


def image_project(column: Image) -> Project:
    return Project(
        name="scans",
        owner="someone@example.com",
        columns=(column,),
        target=Binary("ill", positive="ill"),
        time="at",
        row_id="scan_id",
        torch=lambda inputs, params: None,
    )


def write_graph(path, shape=SCAN.shape) -> str:
    """sigmoid(mean of the pixels) as a graph of one image; its digest."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["scan", "axes"], ["mean"], keepdims=0),
            helper.make_node("Reshape", ["mean", "column"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("scan", TensorProto.FLOAT, ["rows", *shape])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class OneVersion:
    """A registry with one champion, in a file."""

    def __init__(self, path, digest: str) -> None:
        self._path, self._digest = path, digest

    def alias(self, name: str, alias: str) -> ModelVersion:
        created = pd.Timestamp("2024-01-01", tz="UTC").to_pydatetime()
        return ModelVersion(
            name=name, version="1", run_id="r", digest=self._digest, aliases=(alias,), created=created, tags={}
        )

    def graph(self, version: ModelVersion):
        return self._path


def follow(settings, project, path, digest) -> ModelReloader:
    reloader = ModelReloader(settings, project, registry=OneVersion(path, digest))
    reloader.check()
    return reloader


@pytest.fixture
def http(settings, project, tmp_path):
    digest = write_graph(tmp_path / "graph.onnx")
    reloader = follow(settings, project, tmp_path / "graph.onnx", digest)
    with PredictionLog(tmp_path / "log", project.inputs, project.target.answers, background=False) as log:
        app = create_app(
            project, reloader, log, LabelLog(tmp_path / "log" / "labels", project.target), max_bytes=1 << 20
        )
        with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
            yield client


def expected(values: list[float]) -> float:
    return float(1 / (1 + np.exp(-np.mean(values))))


def v2(data: object, shape: list[int], datatype: str = "FP32") -> bytes:
    return msgspec.json.encode({"inputs": [{"name": "scan", "shape": shape, "datatype": datatype, "data": data}]})


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (VALUES, [1, 2, 3, 1]),
        (VALUES, [1, 6]),
        ([VALUES], [1, 6]),
        ([NESTED], [1, 2, 3, 1]),
        ([[[0, 1, 2], [3, 4, 16]]], [1, 2, 3]),
    ],
)
def test_an_image_is_answered_flat_or_nested_in_the_open_inference_protocol(http, data, shape):
    answer = http.post("/v2/models/scans/infer", content=v2(data, shape), headers={"Content-Type": "application/json"})

    assert answer.status_code == 200, answer.text
    probability = next(output for output in answer.json()["outputs"] if output["name"] == "probability")
    assert probability["data"] == [pytest.approx(expected(VALUES))]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"scan": [NESTED, NESTED]}},
        {"inputs": {"scan": [VALUES, VALUES]}},
        {"instances": [{"scan": VALUES}, {"scan": NESTED}]},
        {"dataframe_records": [{"scan": VALUES}, {"scan": VALUES}]},
        {"dataframe_split": {"columns": ["scan"], "data": [[VALUES], [NESTED]]}},
    ],
)
def test_images_are_answered_in_each_format_of_the_scoring_protocol(http, body):
    answer = http.post("/invocations", json=body)

    assert answer.status_code == 200, answer.text
    assert [row["probability"] for row in answer.json()["predictions"]] == [pytest.approx(expected(VALUES))] * 2


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (VALUES[:5], "row 0: must have 6 numbers (2 x 3 x 1), got 5 numbers"),
        ([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], "row 0: must have 6 numbers (2 x 3 x 1), got lists of shape (3, 2)"),
        ([[1.0], [1.0, 2.0]], "must be a flat list or one of equal lists"),
        ([*VALUES[:5], "dark"], "finite as 32-bit, got the string 'dark' at value 5"),
        ([*VALUES[:5], None], "finite as 32-bit, got null at value 5"),
        ([*VALUES[:5], 1e39], "finite as 32-bit, got 1e+39 at value 5"),
        ([*VALUES[:5], 10**400], "finite as 32-bit, got a huge integer at value 5"),
        ([{}] * 6, "finite as 32-bit"),
        (None, "must be a list of 6 numbers, got null"),
        (7, "must be a list of 6 numbers, got int"),
    ],
)
def test_what_is_no_image_of_that_size_is_refused_with_the_field(project, cell, says):
    body = json.dumps({"dataframe_records": [{"scan": cell}]}).encode()

    with pytest.raises(BadRequest) as refused:
        Protocol(project).invocation(body, "application/json")

    assert refused.value.field == "scan"
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("data", "shape", "datatype", "says"),
    [
        (VALUES, [1, 3, 2, 1], "FP32", "must have shape [n, 2, 3, 1] or [n, 6]"),
        (VALUES, [6], "FP32", "must have shape [n, 2, 3, 1] or [n, 6]"),
        (VALUES, [2, 6], "FP32", "has shape [2, 6] but 6 values"),
        ([VALUES], [2, 6], "FP32", "has shape [2, 6] but 1 rows"),
        (VALUES, [1, 6], "BYTES", "must have datatype FP32"),
    ],
)
def test_a_tensor_that_does_not_fill_its_shape_is_refused(project, data, shape, datatype, says):
    with pytest.raises(BadRequest) as refused:
        Protocol(project).infer(v2(data, shape, datatype))

    assert (refused.value.field, says in str(refused.value)) == ("scan", True), str(refused.value)


def test_channels_first_is_not_taken_for_channels_last():
    body = json.dumps({"inputs": {"photo": [np.zeros((3, 2, 2)).tolist()]}}).encode()

    with pytest.raises(BadRequest, match="got lists of shape \\(3, 2, 2\\)"):
        Protocol(image_project(COLOUR)).invocation(body, "application/json")


def test_integers_beyond_64_bits_are_numbers_as_long_as_they_are_finite(project):
    body = json.dumps({"instances": [{"scan": [10**30, *VALUES[1:]]}]}).encode()

    request = Protocol(project).invocation(body, "application/json")

    assert request.tensors["scan"][0, 0, 0, 0] == np.float32(1e30)


def test_csv_cannot_hold_an_image(project):
    with pytest.raises(BadRequest, match="'scan' is an image, which CSV cannot hold"):
        Protocol(project).invocation(b"scan\n1\n", "text/csv")


def test_the_metadata_says_the_shape_of_the_image(project):
    assert metadata(project, ["1"])["inputs"] == [{"name": "scan", "datatype": "FP32", "shape": [-1, 2, 3, 1]}]


def test_a_served_image_can_be_found_in_the_log_to_the_last_bit(http, tmp_path):
    values = np.random.default_rng(3).uniform(0, 16, 6).astype("float32").tolist()

    answer = http.post("/invocations", json={"instances": [{"scan": values}]})

    row = find(tmp_path / "log", answer.json()["prediction_ids"][0])
    assert row is not None
    assert row["scan"] == values


def test_the_client_sends_images_in_requests_of_bounded_size(http, project):
    frame = pd.DataFrame({"scan": list(np.random.default_rng(1).uniform(0, 16, (25, 6)).astype("float32"))})
    client = Client("http://localhost", project)
    client._http = http
    client._rows = 10

    answers = client.predict(frame)

    images = pixels(frame["scan"], SCAN)
    np.testing.assert_allclose(answers["probability"], 1 / (1 + np.exp(-images.mean(axis=1))), rtol=1e-6)
    assert Client("http://localhost", image_project(Image("big", shape=(300, 300, 3))))._rows == 1


def test_a_champion_of_another_image_size_does_not_answer(settings, project, tmp_path):
    digest = write_graph(tmp_path / "graph.onnx", shape=(8, 8, 1))

    reloader = follow(settings, project, tmp_path / "graph.onnx", digest)

    assert reloader.current is None
    assert "takes column 'scan' as float32[8,8,1], but the project has float32[2,3,1]" in reloader.problem
