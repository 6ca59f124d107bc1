"""Five classes through the whole circle, on the real tools and storms that nobody here made."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

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

BEGIN, NEW_YEAR = datetime(2000, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
JUNE, DECEMBER = datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 12, 1, tzinfo=UTC)
MONTHS = [f"2020-{month:02d}" for month in range(6, 12)]
"""The busiest season of the file."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout(repository: Path, script: Script, shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a folder of its own, with two decades of seasons."""
    root = tmp_path_factory.mktemp("checkout")
    home = root / "projects" / "storms"
    shutil.copytree(repository / "projects" / "storms", home)
    prepare = script(home / "prepare.py")
    params = yaml.safe_load((home / "params.yaml").read_text())["storms"]
    raw, table = shipped(params, prepare.RAW), root / "storms.parquet"
    subprocess.run([sys.executable, "-I", home / "unpickle.py", raw, table], check=True)
    rows = prepare.records(pd.read_parquet(table))
    kept = rows["observed_at"].between(pd.Timestamp(BEGIN), pd.Timestamp(DECEMBER), inclusive="left")
    prepare.write(rows[kept], root / ".fullcircle" / "data" / "storms")
    return root


@pytest.fixture(scope="module")
def project(checkout: Path) -> Project:
    """One framework, fewer epochs."""
    found = load_project("storms", checkout)
    return dataclasses.replace(found, keras=None, training=dataclasses.replace(found.training, epochs=20))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def trained(project: Project, settings: Settings) -> RetrainResult:
    return retrain(project, Workspace(settings), until=NEW_YEAR)


@pytest.fixture(scope="module")
def season(project: Project) -> pd.DataFrame:
    return load([part for part in partitions(project) if part.month in MONTHS], project)


@pytest.fixture(scope="module")
def served(project: Project, settings: Settings, trained: RetrainResult, season: pd.DataFrame) -> Iterator[Client]:
    """The real server in a process of its own, which was sent the whole season, and then what the storms were."""
    port = free_port()
    with service(project, settings, port=port), Client(f"http://127.0.0.1:{port}", project) as client:
        client.wait_for(trained.version.version)
        client.predict(season)
        client.labels(season["record_id"].tolist(), season["status"].tolist())
        yield client


@pytest.fixture(scope="module")
def watched(project: Project, settings: Settings, served: Client) -> WatchResult:
    return watch(project, Workspace(settings), JUNE, DECEMBER)


def test_the_network_is_judged_over_five_classes_and_released(project: Project, trained: RetrainResult) -> None:
    assert trained.verdict.outcome is Outcome.PROMOTE, trained.verdict.reasons
    found = trained.evaluations["torch"]
    assert found.metrics["roc_auc"].value > trained.evaluations["baseline"].metrics["roc_auc"].value > 0.8
    assert set(project.target.metrics) <= set(found.metrics)
    assert trained.candidate.parity < 1e-4


def test_the_released_graph_answers_with_probabilities_that_sum_to_one(
    project: Project, settings: Settings, trained: RetrainResult, season: pd.DataFrame
) -> None:
    registry = Registry(settings)
    graph = Graph.load(registry.graph(registry.version(project.name, CHAMPION)))
    answers = graph(season)
    assert graph.answers == project.target.answers.numbers
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, rtol=1e-5)
    assert (answers.argmax(axis=1) == project.target.targets(season)).mean() > 0.6


def test_one_record_over_http_gets_the_likeliest_class_by_its_name(
    project: Project, settings: Settings, served: Client, season: pd.DataFrame
) -> None:
    row = season[season["wind_12h"].notna()].iloc[:1]
    cells = row[[column.name for column in project.inputs]].astype(object).iloc[0].to_dict()
    body = {"dataframe_split": {"columns": list(cells), "data": [list(cells.values())]}}

    [answer] = httpx.post(f"{served.url}/invocations", json=body).raise_for_status().json()["predictions"]

    registry = Registry(settings)
    answers = Graph.load(registry.graph(registry.version(project.name, CHAMPION)))(row)
    expected = dict(zip(project.target.answers.numbers, answers[0].tolist(), strict=True))
    assert {name: answer[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert answer["class"] == project.target.answers.words(answers)["class"][0]


def test_a_status_that_is_no_class_is_refused_over_http_and_nothing_of_its_batch_is_kept(
    project: Project, settings: Settings, watched: WatchResult, served: Client, season: pd.DataFrame
) -> None:
    ids = season["record_id"].tolist()
    body = {"labels": [{"row_id": ids[0], "label": "low"}, {"row_id": ids[1], "label": "medicane"}]}
    answer = httpx.post(f"{served.url}/labels", json=body)
    assert answer.status_code == 400
    assert "5 classes" in answer.text

    seen, rows = window(project, settings.folder("predictions", project.name), JUNE, DECEMBER)

    by_id = rows[rows["label"].notna()].set_index("row_id").loc[ids]
    assert seen.labelled == len(ids)
    np.testing.assert_array_equal(project.target.label_codec.logged(by_id["label"]), project.target.targets(season))


def test_a_season_is_watched_in_the_metrics_of_the_classes(watched: WatchResult) -> None:
    performance = watched.health.performance
    assert performance is not None
    assert performance.primary == "roc_auc"
    assert performance.score.value > 0.8
    assert {"accuracy", "macro_f1", "log_loss"} <= set(performance.metrics)
    assert watched.health.prediction is not None
    assert watched.report.is_file()


def test_the_run_keeps_what_explains_the_model_and_its_card_speaks_of_the_classes(
    project: Project, settings: Settings, trained: RetrainResult
) -> None:
    tracker = RunStore(settings)
    assert tracker.download(trained.winner_run_id, "explanation/shap_summary.png").read_bytes()[:4] == b"\x89PNG"
    assert project.target.meaning in tracker.download(trained.winner_run_id, "model_card.md").read_text()
    reference = pd.read_parquet(tracker.download(trained.winner_run_id, "reference/reference.parquet"))
    assert set(project.target.answers.numbers) <= set(reference.columns)
