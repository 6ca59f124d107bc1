"""The challenger on what production really asked: a real prediction log, real graphs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Binary, Number, Project, Watch
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop.retraining.replay_traffic import SAMPLE, replay_answers
from fullcircle.loop.retraining.train_candidates import Champion
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog

WriteGraph = Callable[[Path, float], Path]

AT = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


@pytest.fixture
def project() -> Project:
    return Project(
        name="shadowed",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        watch=Watch(window=timedelta(days=7)),
    )


def champion(path: Path) -> Champion:
    version = ModelVersion(name="shadowed", version="7", run_id="r", digest="d", aliases=(), created=AT, tags={})
    return Champion(version=version, score=Graph.load(path), answers=np.zeros(1, dtype="float32"))


def log(project: Project, settings: Settings, version: str, x: np.ndarray, first: int, at: datetime) -> None:
    """Log the answers 0.5 of a version to rows r<first>, ..."""
    ids = [f"r{first + number}" for number in range(len(x))]
    with PredictionLog(
        settings.folder("predictions", project.name), project.inputs, project.target.answers, background=False
    ) as written:
        written.append(
            Batch(
                model_version=version,
                digest="d",
                event_times=[at] * len(x),
                row_ids=ids,
                inputs={"x": x.astype("float32")},
                answers=np.full(len(x), 0.5, dtype="float32"),
            )
        )


def test_the_champions_answers_are_those_of_the_log_and_an_earlier_models_rows_are_asked_again(
    project: Project, settings: Settings, tmp_path: Path, write_graph: WriteGraph
) -> None:
    # The champion's graph says sigmoid(0) = 0.5 of every row, as was logged in its name; version 6 had said 0.5 too.
    log(project, settings, "7", np.array([0.0, 1.0, 4.0]), 0, AT - timedelta(days=1))
    log(project, settings, "6", np.array([-4.0]), 3, AT - timedelta(days=2))
    log(project, settings, "7", np.array([9.0]), 4, AT - timedelta(days=8))  # before the window
    LabelLog(settings.folder("predictions", project.name) / "labels", project.target).append(["r2"], [1])

    serving = champion(write_graph(tmp_path / "champion.onnx", 1.0))
    found = replay_answers(project, settings, write_graph(tmp_path / "challenger.onnx", 0.0), serving, AT)

    assert found is not None
    assert (found.rows, found.answered, found.unanswered) == (4, 3, 0)
    # Of the logged answers of version 7 the challenger differs nowhere; version 6's row is asked of the champion.
    assert [row.row_id for row in found.largest] == ["r3"]
    assert found.largest[0].champion == pytest.approx(1 / (1 + np.exp(4)), abs=1e-6)
    assert found.largest[0].challenger == 0.5
    assert found.share == 0.25

    steep = replay_answers(project, settings, write_graph(tmp_path / "steep.onnx", 2.0), serving, AT)
    assert steep is not None
    assert [(row.row_id, row.label) for row in steep.largest[:2]] == [("r2", 1), ("r1", None)]


def test_of_many_rows_a_sample_is_compared_and_the_same_one_again(
    project: Project, settings: Settings, tmp_path: Path, write_graph: WriteGraph
) -> None:
    x = np.random.default_rng(0).normal(size=SAMPLE + 500)
    log(project, settings, "7", x, 0, AT - timedelta(days=1))
    serving = champion(write_graph(tmp_path / "champion.onnx", 1.0))
    path = write_graph(tmp_path / "challenger.onnx", 1.0)
    found = replay_answers(project, settings, path, serving, AT)
    assert found is not None and found.rows == SAMPLE
    assert found == replay_answers(project, settings, path, serving, AT)


def test_nothing_logged_is_no_comparison_and_a_damaged_log_says_so(
    project: Project, settings: Settings, tmp_path: Path, write_graph: WriteGraph
) -> None:
    serving = champion(write_graph(tmp_path / "champion.onnx", 1.0))
    assert replay_answers(project, settings, tmp_path / "champion.onnx", serving, AT) is None
    day = settings.folder("predictions", project.name) / "segments" / "date=2013-04-30"
    day.mkdir(parents=True)
    (day / "broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataUnavailable, match=r"broken\.parquet cannot be read"):
        replay_answers(project, settings, tmp_path / "champion.onnx", serving, AT)
