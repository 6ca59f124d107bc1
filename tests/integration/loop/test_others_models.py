"""Models as other libraries write them, through the circle: a Lightning module and a Hugging Face transformer."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project.loading import load_project
from fullcircle.core.row_tensors import identities
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.system.processes import free_port
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.workspace import Workspace
from fullcircle.serving.client import Client
from fullcircle.serving.server_process import service
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.ui.review import CARD, SHAP, review_columns

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APRIL = datetime(2025, 4, 1, tzinfo=UTC)


def machines(rows: int = 6000) -> pd.DataFrame:
    """Three months of machines that fail hot under load or cold without it: no line divides them, a network can."""
    random = np.random.default_rng(5)
    load, heat = random.normal(size=(2, rows)).astype(np.float32)
    maker = random.choice(["a", "b", "c"], rows)
    chance = 1 / (1 + np.exp(-(3 * load * heat + (maker == "a"))))
    heat[random.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "at": pd.date_range("2025-01-01", "2025-03-30", periods=rows, tz="UTC"),
            "machine": [f"m{index}" for index in range(rows)],
            "load": load,
            "heat": heat,
            "maker": maker,
            "failed": (random.random(rows) < chance).astype(int),
        }
    )


@pytest.mark.parametrize("name", ["lightning_net", "tiny_transformer"])
def test_it_is_trained_tracked_exported_and_served(name: str, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "tests" / "projects" / name, tmp_path / name)
    frame = machines()
    broke = frame["failed"] == 1
    if name == "lightning_net":  # whose outcomes are two words, as people have them
        frame["failed"] = np.where(broke, "broke", "ran")
    (tmp_path / name / "data").mkdir()
    for month, rows in frame.groupby(frame["at"].dt.strftime("%Y-%m")):
        rows.to_parquet(tmp_path / name / "data" / f"{month}.parquet")
    project, settings = load_project(name, tmp_path), Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})

    result = retrain(project, Workspace(settings), until=APRIL)

    assert (result.winner, result.verdict.outcome, result.promoted) == ("torch", Outcome.PROMOTE, True)
    assert result.candidate.parity < 1e-5
    assert (
        result.evaluations["torch"].metrics["roc_auc"].value
        > 0.75
        > result.evaluations["baseline"].metrics["roc_auc"].value
    )
    assert RunStore(settings).data_version(result.winner_run_id).digest == result.data.digest
    shown = RunStore(settings).state(result.run_id).tags
    assert [shown[name] for name in ("verdict", "winner", "champion")] == ["promote", "torch", "1, the first"]
    assert set(review_columns(project.target)) <= set(shown)
    for artifact_path in (CARD, SHAP):
        assert RunStore(settings).download(result.run_id, artifact_path).stat().st_size > 0
    port = free_port()
    sample = frame.tail(200)
    with service(project, settings, port=port), Client(f"http://127.0.0.1:{port}", project) as client:
        client.wait_for(result.version.version)
        answers = client.predict(sample)["probability"].to_numpy()
        assert client.labels(identities(sample["machine"]), sample["failed"].tolist()) == 200
    assert roc_auc(broke.tail(200).to_numpy(), answers) > 0.75
