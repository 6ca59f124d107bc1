"""A window of more rows than are read is watched by its fingerprints; a report is for who asks, and for a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.records.releases import CHAMPION, PREVIOUS, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.select_challenger import REFERENCE
from fullcircle.loop.watch import watch
from fullcircle.loop.workspace import Workspace
from fullcircle.monitoring.fingerprint_drift import BY_ROWS
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

CALM, MOVED, END = (datetime(2013, month, 1, tzinfo=UTC) for month in (5, 6, 7))
ROWS = BY_ROWS + 10_000


def log_month(folder: Path, project: Project, version: str, start: datetime, shift: float, seed: int) -> None:
    """So many rows over ten days, a label for each third."""
    rng = np.random.default_rng(seed)
    ids = [f"{start:%m}-{number}" for number in range(ROWS)]
    x = rng.normal(loc=shift, size=ROWS).astype("float32")
    probability = (1 / (1 + np.exp(-x))).astype("float32")
    with PredictionLog(folder, project.inputs, project.target.answers, background=False) as log:
        for first in range(0, ROWS, 10_000):
            part = slice(first, first + 10_000)
            times = [start + timedelta(hours=first // 250)] * 10_000
            log.append(
                Batch(
                    model_version=version, digest="d", event_times=times, row_ids=ids[part],
                    inputs={"x": x[part].reshape(-1, 1)}, answers=probability[part],
                )
            )  # fmt: skip
    LabelLog(folder / "labels", project.target).append(ids[::3], (rng.random(ROWS) < probability).astype(int)[::3])


@pytest.fixture
def served(settings: Settings, project: Project, make: Callable[..., ModelVersion], tmp_path: Path) -> ModelVersion:
    """A champion and its predecessor, and two months of its answers: one as its reference, one further on."""
    before, champion = make(), make()
    registry = Registry(settings)
    registry.set_alias(project.name, PREVIOUS, before.version)
    registry.set_alias(project.name, CHAMPION, champion.version)
    x = np.random.default_rng(0).normal(size=10_000).astype("float32")
    reference = pd.DataFrame({"x": x, "id": [f"r{n}" for n in range(len(x))], "probability": 1 / (1 + np.exp(-x))})
    reference.to_parquet(tmp_path / "reference.parquet", index=False)
    RunStore(settings).append(champion.run_id).file(tmp_path / "reference.parquet", str(Path(REFERENCE).parent))
    folder = settings.folder("predictions", project.name)
    log_month(folder, project, champion.version, CALM, 0.0, 1)
    log_month(folder, project, champion.version, MOVED, 1.0, 2)
    return champion


def test_a_large_window_is_judged_by_fingerprints_and_reported_when_asked_for_or_wrong(
    settings: Settings, project: Project, served: ModelVersion
) -> None:
    workspace, runs = Workspace(settings), RunStore(settings)
    calm = watch(project, workspace, CALM, MOVED, report=False)
    assert calm.seen.rows is None
    assert (calm.window.rows, calm.window.labelled, calm.window.versions) == (ROWS, ROWS // 3, (served.version,))
    assert (calm.health.drifted, calm.incidents, calm.report, calm.report_url) == ((), (), None, "")
    performance = calm.health.performance
    assert performance is not None
    assert performance.rows == ROWS // 3
    assert performance.previous_gain is not None  # its answers order the rows as the champion's do
    assert abs(performance.previous_gain.value) < 0.01
    kept = json.loads(runs.download(served.run_id, "monitoring/2013-05.json").read_text())
    assert kept["window"]["rows"] == ROWS
    with pytest.raises(FullcircleError):
        runs.download(served.run_id, "monitoring/2013-05.html")
    asked = watch(project, workspace, CALM, MOVED)
    assert asked.report is not None
    assert asked.health == calm.health
    assert "drawn from a sample" in runs.download(served.run_id, "monitoring/2013-05.html").read_text()
    assert len(asked.rows) == pytest.approx(BY_ROWS, rel=0.02)
    assert {"x", "probability", "label"} <= set(asked.rows)

    moved = watch(project, workspace, MOVED, END, report=False)
    assert moved.health.drifted == ("x",)
    assert moved.health.prediction is not None and moved.health.prediction.drifted
    assert [incident.cause for incident in moved.incidents] == ["drift"]
    assert moved.report is not None
    assert moved.incidents[0].links["report"] == moved.report_url
    assert runs.download(served.run_id, "monitoring/2013-06.html").is_file()
