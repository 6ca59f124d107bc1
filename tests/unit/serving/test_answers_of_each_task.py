"""What is answered, and what a label may be, for every kind of task, over HTTP, through real graphs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from starlette.testclient import TestClient

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Binary, Category, Multiclass, Multilabel, Number, Project, Regression
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.tasks import Task
from fullcircle.graph.onnx_session import Graph
from fullcircle.predictions import log_reader
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.serving import protocol
from fullcircle.serving.app import create_app
from fullcircle.serving.client import Client, tensors_of
from fullcircle.serving.model_reloader import ModelReloader
from fullcircle.serving.request_limits import Limits
from fullcircle.tracking.registry.mlflow_model import to_mlflow_graph
from fullcircle.tracking.registry.signature import input_example, signature

START = datetime(2013, 4, 1, tzinfo=UTC)
TASKS: dict[str, Task] = {
    "binary": Binary("late", positive="late", labels=("no", "yes")),
    "decided": Binary("late", positive="late", threshold=0.5),
    "multiclass": Multiclass("status", classes=("calm", "storm", "hurricane")),
    "digits": Multiclass("digit", classes=(3, 1, 2)),
    "regression": Regression("count", unit="bikes"),
    "interval": Regression("count", loss="quantile"),
    "multilabel": Multilabel("topics", labels=("art", "law", "war")),
    "separate": Multilabel("topics", labels=("art", "law", "war"), separate=True),
}
ROWS = pd.DataFrame(
    {
        "x": np.float32([0.0, 1.0, -2.0]),
        "way": ["AA", "UA", ""],
        "id": ["a", "b", "c"],
        "at": pd.date_range("2013-04-02", periods=3, freq="h", tz="UTC"),
    }
)


def project_of(task: Task) -> Project:
    return Project(
        name="any", owner="o@example.com", columns=(Number("x"), Category("way", nullable=True)), target=task,
        time="at", row_id="id", torch=lambda *_: None,
    )  # fmt: skip


def write_graph(path: Path, task: Task, names: tuple[str, ...] | None = None, text: bool = True) -> str:
    """Each number is sigmoid(x * its own weight), words say the largest; its digest."""
    numbers, texts = names or task.answers.numbers, [each for each in task.answers.columns if not each.is_number]
    weights = np.linspace(-1.0, 1.5, len(numbers), dtype="float32")
    constants = [numpy_helper.from_array(weights[[index]], f"w{index}") for index in range(len(numbers))]
    nodes = [helper.make_node("Equal", ["way", "united"], ["is_united"]),
             helper.make_node("Cast", ["is_united"], ["as_number"], to=TensorProto.FLOAT),
             helper.make_node("Add", ["x", "as_number"], ["sum"])]  # fmt: skip
    constants.append(numpy_helper.from_array(np.array(["UA"], object), "united"))
    for index, name in enumerate(numbers):
        nodes.append(helper.make_node("Mul", ["sum", f"w{index}"], [f"raw{index}"]))
        nodes.append(helper.make_node("Sigmoid", [f"raw{index}"], [name]))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in numbers]
    for each in texts if text else ():
        constants.append(numpy_helper.from_array(np.array(each.choices, object), "words"))
        nodes += [helper.make_node("Concat", list(numbers), ["all"], axis=1),
                  helper.make_node("ArgMax", ["all"], ["which"], axis=1, keepdims=1),
                  helper.make_node("Gather", ["words", "which"], [each.name])]  # fmt: skip
        outputs.append(helper.make_tensor_value_info(each.name, TensorProto.STRING, [None, 1]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1]),
              helper.make_tensor_value_info("way", TensorProto.STRING, [None, 1])]  # fmt: skip
    graph = helper.make_graph(nodes, "any", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


class OneFile:
    """A registry of one graph."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest

    def alias(self, name: str, alias: str) -> ModelVersion:
        return ModelVersion(name=name, version="1", run_id="r", digest=self.digest, aliases=(alias,), created=START, tags={})  # fmt: skip # noqa: E501

    def graph(self, version: ModelVersion) -> Path:
        return self.path


def reloader_of(folder: Path, task: Task, **graph: object) -> ModelReloader:
    registry = OneFile(folder / "graph.onnx", write_graph(folder / "graph.onnx", task, **graph))
    reloader = ModelReloader(Settings.from_env({"FULLCIRCLE_HOME": str(folder)}), project_of(task), registry=registry)
    reloader.check()
    return reloader


@contextmanager
def served(folder: Path, task: Task) -> Iterator[TestClient]:
    project, reloader = project_of(task), reloader_of(folder, task)
    assert reloader.problem == ""
    with PredictionLog(folder / "log", project.inputs, task.answers, background=False) as log:
        app = create_app(project, reloader, log, LabelLog(folder / "log" / "labels", task))
        with TestClient(app, "http://localhost") as http:
            yield http


def window(folder: Path, task: Task) -> pd.DataFrame:
    return log_reader.window(project_of(task), folder / "log", START, START + timedelta(days=30))[1]


@pytest.mark.parametrize("name", TASKS)
def test_the_outputs_are_the_answers_columns_and_what_is_answered_is_logged(tmp_path, name):
    task = TASKS[name]
    numbers = Graph.load(tmp_path / "g.onnx", digest=write_graph(tmp_path / "g.onnx", task))(ROWS)
    wanted = {**task.answers.by_name(numbers), **task.answers.words(numbers)}
    with served(tmp_path, task) as http:
        said = http.post("/v2/models/any/infer", json={"inputs": tensors_of(ROWS, project_of(task))}).json()["outputs"]
        metadata = http.get("/v2/models/any").json()["outputs"]
        frame = window(tmp_path, task)

    assert [each["name"] for each in said] == [*task.answers.names, "prediction_id"]
    assert [(each["name"], each["datatype"]) for each in said] == [
        (each["name"], each["datatype"]) for each in metadata
    ]
    assert {each["shape"] == [3, 1] for each in said} == {True}
    for each in said[:-1]:
        assert each["data"] == wanted[each["name"]].tolist()
        assert each["datatype"] == ("FP32" if each["name"] in task.answers.numbers else "BYTES")
    np.testing.assert_array_equal(task.answers.of(frame), numbers)


@pytest.mark.parametrize("name", TASKS)
def test_invocations_answer_what_mlflows_own_scoring_of_the_graph_answers(tmp_path, name):
    import mlflow.onnx
    from mlflow.pyfunc.scoring_server import predictions_to_json

    task = TASKS[name]
    project = project_of(task)
    body = {"dataframe_records": ROWS[["x", "way"]].to_dict(orient="records")}
    with served(tmp_path, task) as http:
        ours = http.post("/invocations", json=body).json()["predictions"]
    mlflow.onnx.save_model(
        to_mlflow_graph(tmp_path / "graph.onnx"), str(tmp_path / "model"), signature=signature(project),
        input_example=input_example(project, ROWS), pip_requirements=["onnx"], save_as_external_data=False,
    )  # fmt: skip
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert model.metadata.signature.outputs.input_names() == list(task.answers.names)
    said = io.StringIO()
    predictions_to_json(model.predict(ROWS[["x", "way"]].astype({"x": "float64"})), said)
    theirs = json.loads(said.getvalue())["predictions"]

    assert [list(row) for row in ours] == [list(row) for row in theirs] == [list(task.answers.names)] * 3
    assert [[float(np.float32(row[each])) for each in task.answers.numbers] for row in ours] == [
        [float(np.float32(row[each])) for each in task.answers.numbers] for row in theirs
    ]
    assert [[row[each] for each in task.answers.texts] for row in ours] == [
        [row[each] for each in task.answers.texts] for row in theirs
    ]


def test_words_alone_are_answered_where_they_alone_are_wanted_and_an_unknown_name_is_refused_with_the_list(tmp_path):
    task = TASKS["multiclass"]
    body = {"inputs": tensors_of(ROWS, project_of(task))}
    with served(tmp_path, task) as http:
        alone = http.post("/v2/models/any/infer", json=body | {"outputs": [{"name": "class"}]}).json()["outputs"]
        refused = http.post("/v2/models/any/infer", json=body | {"outputs": [{"name": "probability"}]})
    assert [(each["name"], len(each["data"])) for each in alone] == [("class", 3)]
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "no output 'probability'; there are p_calm, p_storm, p_hurricane, class, prediction_id"
    )


@pytest.mark.parametrize(
    ("name", "names", "why"),
    [
        ("binary", ("p_yes",), "answers with p_yes, but the project has probability"),
        ("decided", ("probability",), "answers with probability, but the project has probability, decision"),
        ("multiclass", ("p_calm", "p_hurricane", "p_storm"), "answers with p_calm, p_hurricane, p_storm, but the"),
        ("interval", ("prediction",), "answers with prediction, but the project has prediction, low, high"),
    ],
)
def test_a_graph_of_other_answers_is_not_served_and_one_line_says_why(tmp_path, name, names, why):
    reloader = reloader_of(tmp_path, TASKS[name], names=names, text=False)
    assert reloader.current is None
    assert why in reloader.problem
    assert "fullcircle run any" in reloader.problem
    assert "\n" not in reloader.problem


@pytest.mark.parametrize("name", TASKS)
def test_the_client_gives_a_frame_of_the_answers_columns(tmp_path, name):
    task = TASKS[name]
    with served(tmp_path, task) as http, Client("http://localhost", project_of(task)) as client:
        client._http = http
        answers = client.predict(ROWS.set_axis([7, 8, 9]))
        assert client.predict(ROWS.iloc[:0]).columns.tolist() == answers.columns.tolist()
    assert answers.columns.tolist() == ["row_id", "prediction_id", "model_version", *task.answers.names]
    assert answers.index.tolist() == [7, 8, 9]
    assert {str(answers[each].dtype) for each in task.answers.numbers} == {"float32"}
    np.testing.assert_array_equal(task.answers.of(answers), task.answers.of(window(tmp_path, task)))
    for each, words in task.answers.words(task.answers.of(answers)).items():
        assert answers[each].tolist() == words.tolist()


LABELLED = {
    "binary": {"late": ["yes", "no", "yes"]},
    "decided": {"late": [1.0, 0.0, True]},
    "multiclass": {"status": ["hurricane", "calm", "storm"]},
    "digits": {"digit": np.int64([3, 2, 1])},
    "regression": {"count": [1.5, -3.0, 2e9]},
    "interval": {"count": np.float32([1.5, -3.0, 0.1])},
    "multilabel": {"topics": [["war", "art"], [], np.array(["law"], object)]},
    "separate": {"art": [1, 0, 0], "law": [0, 0, 1], "war": [True, False, False]},
}


@pytest.mark.parametrize("name", TASKS)
def test_the_labels_of_raw_rows_come_back_as_the_targets_of_those_rows(tmp_path, name):
    task = TASKS[name]
    raw = pd.DataFrame(LABELLED[name])
    with served(tmp_path, task) as http, Client("http://localhost", project_of(task)) as client:
        client._http = http
        client.predict(ROWS)
        for _ in range(2):  # sending them again does no harm
            assert client.labels(["a", "b", "c"], task.label_codec.sent(raw)) == 3
        kept = window(tmp_path, task).sort_values("row_id")["label"]
    np.testing.assert_array_equal(task.label_codec.logged(task.label_codec.known_labels(kept)), task.targets(raw))


def test_labels_of_columns_of_their_own_are_lists_or_objects_of_all_of_them():
    task = TASKS["separate"]
    limits = Limits.of(project_of(task), rows=10, length=100_000)
    for task in (TASKS["separate"], TASKS["multilabel"]):
        for label in (["war", "art"], {"art": 1, "law": 0, "war": True}):
            body = msgspec.json.encode({"labels": [{"row_id": 7, "label": label}]})
            assert protocol.labels(body, limits, task) == (["7"], [[1, 0, 1]])


@pytest.mark.parametrize(
    ("name", "label", "must"),
    [
        ("binary", 1, "must be 'no' or 'yes', got 1"),
        ("multiclass", "breeze", "must be one of the 3 classes, got 'breeze'"),
        ("multiclass", 0, "must be one of the 3 classes, got 0"),
        ("multiclass", ["calm"], r"must be one of the 3 classes, got \['calm'\]"),
        ("digits", "3", "must be one of the 3 classes, got '3'"),
        ("regression", "7", "must be a finite number, and no integer beyond 2.53, got '7'"),
        ("regression", True, "must be a finite number, and no integer beyond 2.53, got True"),
        ("regression", [1.0], r"must be a finite number, and no integer beyond 2.53, got \[1.0\]"),
        ("multilabel", "art", "must be a list of some of the 3 labels, or an object .* got 'art'"),
        ("multilabel", ["tax"], "must be a list of some of the 3 labels"),
        ("multilabel", [["art"]], "must be a list of some of the 3 labels"),
        ("separate", ["tax"], "must be a list of some of the 3 labels"),
        ("separate", 1, "must be a list of some of the 3 labels"),
        ("separate", {"art": 1}, "must be a list of some of the 3 labels"),
        ("separate", {"art": 1, "law": 0, "war": 2}, "must be a list of some of the 3 labels"),
        ("separate", {"art": 1, "law": 0, "war": [1]}, "must be a list of some of the 3 labels"),
        ("separate", {}, "must be a list of some of the 3 labels"),
        ("regression", None, "got `null`"),
    ],
)
def test_a_label_over_http_that_the_task_does_not_know_is_refused_in_one_line(name, label, must):
    task = TASKS[name]
    body = msgspec.json.encode({"labels": [{"row_id": "a", "label": label}]})
    with pytest.raises(BadRequest, match=must) as refused:
        protocol.labels(body, Limits.of(project_of(task), rows=10, length=100_000), task)
    assert "\n" not in str(refused.value)


def test_many_labels_of_a_row_travel_in_requests_that_the_server_takes(tmp_path):
    task = Multilabel("topics", labels=tuple(f"topic {index}" for index in range(1000)))
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        limits = Limits.of(project_of(task), rows=10_000, length=16 << 20)
        row_ids, _ = protocol.labels(request.content, limits, task)
        sizes.append(len(row_ids))
        return httpx.Response(200, json={"accepted": len(row_ids)})

    with Client("http://localhost", project_of(task)) as client:
        client._http = httpx.Client(base_url="http://localhost", transport=httpx.MockTransport(answer))
        assert client.labels([str(row) for row in range(50)], [list(task.labels)] * 50) == 50
    assert max(sizes) < 50
