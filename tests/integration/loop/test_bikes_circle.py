"""A regression with an interval through the whole circle, on the real tools and hours that nobody here made."""

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

from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.records.releases import CHAMPION
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
from fullcircle.serving.client import Client
from fullcircle.serving.server_process import service
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

if TYPE_CHECKING:
    from tests.conftest import Script, Shipped

MAY, JUNE = datetime(2011, 5, 1, tzinfo=UTC), datetime(2011, 6, 1, tzinfo=UTC)
NUMBERS = ("prediction", "low", "high")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout(repository: Path, script: Script, shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a folder of its own, with the first five months."""
    root = tmp_path_factory.mktemp("checkout")
    home = root / "projects" / "bikes"
    shutil.copytree(repository / "projects" / "bikes", home)
    prepare = script(home / "prepare.py")
    params = yaml.safe_load((home / "params.yaml").read_text())["bikes"]
    rows = prepare.hours(pd.read_csv(shipped(params, prepare.RAW)))
    prepare.write(rows[rows["hour"] < pd.Timestamp(JUNE)], root / ".fullcircle" / "data" / "bikes")
    return root


@pytest.fixture(scope="module")
def project(checkout: Path) -> Project:
    """Both frameworks, fewer epochs."""
    found = load_project("bikes", checkout)
    return dataclasses.replace(found, training=dataclasses.replace(found.training, epochs=15))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def trained(project: Project, settings: Settings) -> RetrainResult:
    return retrain(project, Workspace(settings), until=MAY)


@pytest.fixture(scope="module")
def served(project: Project, settings: Settings, trained: RetrainResult) -> Iterator[Client]:
    """The real server in a process of its own, which was sent all of May, and then its counts."""
    port = free_port()
    with service(project, settings, port=port), Client(f"http://127.0.0.1:{port}", project) as client:
        client.wait_for(trained.version.version)
        frame = rows_of(project, "2011-05")
        client.predict(frame)
        client.labels(frame["hour_id"].tolist(), frame["count"].tolist())
        yield client


@pytest.fixture(scope="module")
def watched(project: Project, settings: Settings, served: Client) -> WatchResult:
    return watch(project, Workspace(settings), MAY, JUNE)


def rows_of(project: Project, month: str) -> pd.DataFrame:
    return load([part for part in partitions(project) if part.month == month], project)


def test_networks_and_baseline_are_judged_by_errors_in_rentals_and_one_is_released(trained: RetrainResult) -> None:
    assert set(trained.evaluations) == {"baseline", "torch", "keras"}
    assert trained.verdict.outcome is Outcome.PROMOTE
    assert trained.promoted
    best = min(trained.evaluations[name].metrics["mae"].value for name in ("torch", "keras"))
    assert best < trained.evaluations["baseline"].metrics["mae"].value < 100
    for evaluation in trained.evaluations.values():
        assert {"mae", "rmse", "r2", "mape", "pinball", "coverage", "interval_width"} <= set(evaluation.metrics)
        assert 0.5 < evaluation.metrics["coverage"].value <= 1.0


def test_the_released_graph_takes_raw_columns_and_answers_in_rentals_with_an_ordered_interval(
    project: Project, settings: Settings, trained: RetrainResult
) -> None:
    registry = Registry(settings)
    champion = registry.alias(project.name, CHAMPION)
    assert champion is not None
    graph = Graph.load(registry.graph(champion), digest=champion.digest)
    assert graph.answers == NUMBERS
    answers = graph(rows_of(project, "2011-05"))
    prediction, low, high = answers.T
    assert (low <= prediction).all()
    assert (prediction <= high).all()
    assert 20 < prediction.mean() < 400
    assert trained.candidate.parity < 1e-4
    outputs = [each.name for each in onnx.load(registry.graph(champion)).graph.output]
    assert outputs == list(NUMBERS)


def test_one_hour_over_http_gets_the_graphs_own_numbers_and_they_are_in_the_log(
    project: Project, settings: Settings, served: Client
) -> None:
    frame = rows_of(project, "2011-05").iloc[:1]
    cells = frame[[column.name for column in project.inputs]].astype(object).iloc[0].to_dict()
    row = {name: value if isinstance(value, str) else float(value) for name, value in cells.items()}
    body = {"dataframe_split": {"columns": list(row), "data": [[None if pd.isna(v) else v for v in row.values()]]}}

    answer = httpx.post(f"{served.url}/invocations", json=body).raise_for_status().json()

    graph = Graph.load(Registry(settings).graph(Registry(settings).version(project.name, CHAMPION)))
    expected = dict(zip(NUMBERS, graph(frame)[0].tolist(), strict=True))
    assert answer["predictions"][0] == pytest.approx(expected, rel=1e-6)


def test_a_count_that_is_none_is_refused_over_http_and_nothing_of_its_batch_is_kept(served: Client) -> None:
    for label in (-1, "many", None, True):
        body = {"labels": [{"row_id": "2011-05-01T00", "label": 7}, {"row_id": "2011-05-01T01", "label": label}]}
        answer = httpx.post(f"{served.url}/labels", json=body)
        assert answer.status_code == 400, label
        assert "finite number, at least 0" in answer.text or "label" in answer.text


def test_the_log_gives_back_the_answers_and_the_counts(
    project: Project, settings: Settings, watched: WatchResult
) -> None:
    sent = rows_of(project, "2011-05")

    seen, rows = window(project, settings.folder("predictions", project.name), MAY, JUNE)

    # The hour that was asked for without an id has none of the file's, and no label.
    known = rows[rows["label"].notna()]
    assert seen.labelled == len(known) == len(sent)
    by_id = known.set_index("row_id").loc[sent["hour_id"].tolist()]
    np.testing.assert_array_equal(by_id["label"].to_numpy(), sent["count"].to_numpy(dtype="float64"))
    assert (by_id["low"] <= by_id["high"]).all()


def test_a_month_of_spring_is_watched_in_the_metrics_of_the_target(watched: WatchResult) -> None:
    performance = watched.health.performance
    assert performance is not None
    assert performance.primary == "mae"
    assert performance.score.value > 0
    assert {"rmse", "pinball", "coverage"} <= set(performance.metrics)
    assert watched.health.prediction is not None
    assert watched.report.is_file()
    assert watched.decision.reason


def test_the_run_keeps_what_explains_the_model_and_its_card_speaks_of_rentals(
    settings: Settings, trained: RetrainResult
) -> None:
    tracker = RunStore(settings)
    assert tracker.download(trained.winner_run_id, "explanation/shap_summary.png").read_bytes()[:4] == b"\x89PNG"
    card = tracker.download(trained.winner_run_id, "model_card.md").read_text()
    assert "rentals" in card
    assert "probability" not in card
    reference = pd.read_parquet(tracker.download(trained.winner_run_id, "reference/reference.parquet"))
    assert set(NUMBERS) <= set(reference.columns)


def test_the_sum_that_is_the_target_is_found_before_anything_is_trained(project: Project, settings: Settings) -> None:
    known = tuple(dataclasses.replace(column, after=False) for column in project.columns)
    leaking = dataclasses.replace(project, name="leaking", columns=known)

    with pytest.raises(FullcircleError, match="casual") as caught:
        retrain(leaking, Workspace(settings), until=MAY)

    assert "registered" in str(caught.value)
