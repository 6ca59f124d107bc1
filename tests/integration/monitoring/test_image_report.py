"""The report of an image column, made by the real Evidently, shows the embedding and says what the health says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Image, Project
from fullcircle.core.records.health import Health, Window
from fullcircle.monitoring.evidently_report import evidently_report, snapshot
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.image_drift import as_numbers

PROJECT = Project(
    name="scans",
    owner="ops@example.com",
    columns=(Image("scan", shape=(6, 6, 1), high=16),),
    target=Binary("ill", positive="ill"),
    time="time",
    row_id="row_id",
    torch=lambda inputs, params: None,
)


def rows(count: int, seed: int, noise: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    bands = np.linspace(0, 3, 36) * random.uniform(0.5, 1.5, (count, 1)) + random.uniform(0, 3, (count, 1))
    images = np.clip(8 + 7 * np.sin(bands) + random.normal(0, 0.3 + noise, (count, 36)), 0, 16)
    probability = random.beta(2, 2, count)
    return pd.DataFrame(
        {
            "scan": list(images.astype("float32")),
            "probability": probability.astype("float32"),
            "label": (random.random(count) < probability).astype("float64"),
        }
    )


def judged(current: pd.DataFrame, reference: pd.DataFrame) -> Health:
    start, end = datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
    window = Window(project="scans", start=start, end=end, rows=len(current), labelled=len(current), versions=("1",))
    return assess_window(PROJECT, window, current, reference, champion_version="1", expected=0.7)


def test_the_report_shows_each_part_of_the_embedding_with_the_verdicts_threshold() -> None:
    reference, current = rows(600, 1), rows(250, 2, noise=2.0)
    health = judged(current, reference)

    found = snapshot(PROJECT, health, current, reference).dict()

    _, parts, _, _ = as_numbers(PROJECT, health, current, reference, seed=0)
    shown = {
        metric["config"]["column"]: (metric["value"], metric["config"]["threshold"])
        for metric in found["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift") and metric["config"]["column"] != "prediction"
    }
    assert set(shown) == {part.column for part in parts.columns}
    for part in parts.columns:
        assert shown[part.column] == (pytest.approx(part.distance), pytest.approx(part.threshold))
    assert health.is_drifted
    assert any(value > threshold for value, threshold in shown.values())


def test_the_html_of_an_image_project_is_written_whole(tmp_path: Path) -> None:
    reference, current = rows(300, 1), rows(150, 2)

    path = evidently_report(PROJECT, judged(current, reference), current, reference, tmp_path / "2024-04.html")

    assert path.stat().st_size > 1_000_000
    assert "scan brightness" in path.read_text()
