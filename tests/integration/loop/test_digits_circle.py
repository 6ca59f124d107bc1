"""An image project through the whole circle, on the real tools: trained, released, served, logged and watched."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import onnx
import pandas as pd
import pytest
import yaml

from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.health import Retrain
from fullcircle.core.records.releases import CHAMPION
from fullcircle.core.row_tensors import pixels
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.system.processes import free_port
from fullcircle.data.parquet_reader import load
from fullcircle.data.partitions import partitions
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.retraining.retrain_result import RetrainResult
from fullcircle.loop.watch import WatchResult, watch
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.log_reader import window
from fullcircle.predictions.lookup import find
from fullcircle.serving.client import Client
from fullcircle.serving.server_process import service
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

if TYPE_CHECKING:
    from tests.conftest import Script, Shipped

JUNE, JULY, AUGUST = (datetime(2024, month, 1, tzinfo=UTC) for month in (6, 7, 8))
MONTHS = {f"2024-{month:02d}": {"rows": 417, "world": "plain"} for month in range(1, 7)} | {
    "2024-07": {"rows": 417, "world": "rotated"}
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout(repository: Path, script: Script, shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a folder of its own, with half a year of upright digits and a month of rotated ones."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(repository / "projects" / "digits", root / "projects" / "digits")
    prepare = script(root / "projects" / "digits" / "prepare.py")
    params = yaml.safe_load((root / "projects" / "digits" / "params.yaml").read_text())["digits"]
    rows = prepare.months(params | {"months": MONTHS}, prepare.read(shipped(params, prepare.RAW)))
    prepare.write(rows, root / ".fullcircle" / "data" / "digits")
    return root


@pytest.fixture(scope="module")
def project(checkout: Path) -> Project:
    """Both frameworks, fewer epochs."""
    found = load_project("digits", checkout)
    return dataclasses.replace(found, training=dataclasses.replace(found.training, epochs=8))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def trained(project: Project, settings: Settings) -> RetrainResult:
    return retrain(project, Workspace(settings), until=JUNE)


@pytest.fixture(scope="module")
def served(project: Project, settings: Settings, trained: RetrainResult) -> Iterator[Client]:
    """The real server in a process of its own, which was sent all of June and July, and then their labels."""
    port = free_port()
    with service(project, settings, port=port), Client(f"http://127.0.0.1:{port}", project) as client:
        client.wait_for(trained.version.version)
        for month in ("2024-06", "2024-07"):
            frame = rows_of(project, month)
            client.predict(frame)
            client.labels(frame["digit_id"].tolist(), frame["digit"].tolist())
        yield client


@pytest.fixture(scope="module")
def plain(project: Project, settings: Settings, served: Client) -> WatchResult:
    return watch(project, Workspace(settings), JUNE, JULY)


@pytest.fixture(scope="module")
def rotated(project: Project, settings: Settings, plain: WatchResult) -> WatchResult:
    return watch(project, Workspace(settings), JULY, AUGUST)


def rows_of(project: Project, month: str) -> pd.DataFrame:
    return load([part for part in partitions(project) if part.month == month], project)


def test_a_convolutional_net_beats_the_baseline_and_is_released(trained: RetrainResult) -> None:
    scores = {name: each.metrics["accuracy"].value for name, each in trained.evaluations.items()}

    assert trained.verdict.outcome is Outcome.PROMOTE
    assert trained.promoted
    assert set(scores) == {"baseline", "torch", "keras"}
    assert min(scores["torch"], scores["keras"]) > scores["baseline"] > 0.75


def test_the_released_graph_takes_raw_pixels_and_has_no_augmentation_in_it(
    project: Project, settings: Settings, trained: RetrainResult
) -> None:
    tracker, registry = RunStore(settings), Registry(settings)
    champion = registry.alias(project.name, CHAMPION)
    assert champion is not None

    assert Graph.load(registry.graph(champion), digest=champion.digest).inputs == (("image", "float32[14,14,1]"),)
    augmenting = {"GridSample", "AffineGrid", "RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike"}
    for run_id in tracker_runs(settings, trained):
        model = onnx.load(tracker.download(run_id, "graph/model.onnx"))
        assert not augmenting & {node.op_type for node in model.graph.node}
    assert trained.candidate.parity < 1e-5


def tracker_runs(settings: Settings, trained: RetrainResult) -> list[str]:
    """The runs of all candidates of a retrain."""
    import json

    from fullcircle.loop.retraining.select_challenger import CANDIDATES

    found = json.loads(RunStore(settings).download(trained.run_id, CANDIDATES).read_text())
    return [each["run_id"] for each in found.values()]


def test_keras_augmentation_is_drawn_from_its_seeded_generator_and_only_while_training(project: Project) -> None:
    from fullcircle.training.on_keras import framework  # it chooses Keras' backend before Keras is imported

    assert framework.FRAMEWORK.name == "keras"
    assert project.keras is not None
    images = np.stack(list(rows_of(project, "2024-06")["image"].iloc[:20])).reshape(-1, 14, 14, 1)
    first, again = (project.keras((14, 14, 1), project.training.extra).layers[0] for _ in range(2))

    drawn = first(images, training=True).numpy()

    assert np.array_equal(drawn, again(images, training=True).numpy())
    assert not np.array_equal(drawn, first(images, training=True).numpy())  # the generator went on
    assert np.abs(drawn - images).mean() < 30
    assert np.array_equal(images, first(images, training=False).numpy())


def test_the_run_keeps_what_explains_the_model_and_what_it_is_watched_by(
    settings: Settings, trained: RetrainResult
) -> None:
    tracker = RunStore(settings)

    picture = tracker.download(trained.winner_run_id, "explanation/shap_summary.png")
    values = pd.read_parquet(tracker.download(trained.winner_run_id, "explanation/shap_values.parquet"))
    reference = pd.read_parquet(tracker.download(trained.winner_run_id, "reference/reference.parquet"))

    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (values.groupby("row_id").size() == 196).all()
    assert reference["image"].map(len).eq(196).all()
    card = tracker.download(trained.winner_run_id, "model_card.md").read_text()
    assert "One image a row: `image`, 14 x 14 x 1." in card


def test_one_image_over_http_gets_the_graphs_own_answer_and_is_in_the_log(
    project: Project, settings: Settings, served: Client, trained: RetrainResult
) -> None:
    frame = rows_of(project, "2024-06").iloc[:1]
    body = {"instances": [{"image": frame["image"].iloc[0].reshape(14, 14).tolist()}]}

    answer = httpx.post(f"{served.url}/invocations", json=body).raise_for_status().json()

    champion = Registry(settings).version(project.name, CHAMPION)
    graph = Graph.load(Registry(settings).graph(champion))
    expected = dict(zip(graph.answers, graph(frame)[0].tolist(), strict=True))
    said = answer["predictions"][0]
    assert {name: said[name] for name in expected} == pytest.approx(expected, abs=1e-7)
    assert said["class"] == max(expected, key=lambda name: expected[name]).removeprefix("p_")
    logged = find(settings.folder("predictions", project.name), answer["prediction_ids"][0])
    assert logged is not None
    assert logged["image"] == frame["image"].iloc[0].tolist()


@pytest.mark.parametrize("values", [[0.0] * 195, ["dark"] * 196, None])
def test_what_is_no_image_is_refused_over_http_naming_the_field(served: Client, values: object) -> None:
    answer = httpx.post(f"{served.url}/invocations", json={"instances": [{"image": values}]})

    assert (answer.status_code, answer.json()["field"]) == (400, "image")


def test_the_log_gives_back_what_was_sent(project: Project, settings: Settings, served: Client) -> None:
    sent = rows_of(project, "2024-07")

    seen, rows = window(project, settings.folder("predictions", project.name), JULY, AUGUST)

    assert (seen.rows, seen.labelled) == (417, 417)
    (column,) = project.inputs
    by_id = rows.set_index("row_id").loc[sent["digit_id"].tolist()]
    np.testing.assert_array_equal(pixels(sent["image"], column), pixels(by_id["image"], column))  # type: ignore[arg-type]
    said = project.target.answers.of(by_id).argmax(axis=1)
    assert (said == by_id["label"]).mean() < 0.9
    assert by_id["label"].tolist() == sent["digit"].tolist()


def test_a_month_of_unseen_upright_digits_raises_no_alarm(plain: WatchResult) -> None:
    assert not plain.health.is_drifted
    assert plain.health.drifted == ()
    assert plain.incidents == ()
    assert plain.health.performance is not None
    assert plain.health.performance.score.value > 0.95


def test_a_month_of_rotated_digits_is_named_as_drift_and_asks_for_a_retrain(rotated: WatchResult) -> None:
    assert rotated.health.drifted == ("image",)
    assert rotated.health.is_drifted
    assert {incident.cause: incident.columns for incident in rotated.incidents} == {
        "drift": ("image",),
        "degraded": ("image",),
    }
    assert isinstance(rotated.decision, Retrain)
    assert "image" in rotated.report.read_text()
