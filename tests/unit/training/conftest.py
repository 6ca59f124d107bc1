"""A small problem with every kind of awkward value: missing numbers, empty, rare and unknown categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Category, Compute, Number, Project, Training
from fullcircle.training.jobs import TrainJob


@pytest.fixture(scope="session")
def project() -> Project:
    return Project(
        name="boxes",
        owner="tests@example.com",
        columns=(
            Number("weight", nullable=True),
            Number("pressure"),
            Category("maker"),
            Category("door", nullable=True),
            Number("broke_after", after=True),
        ),
        target=Binary("broke", "broke within a week"),
        time="at",
        row_id="box",
        torch=lambda inputs, params: None,
    )


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    """A job of which nothing is ever trained."""
    return TrainJob(
        project="boxes",
        root=tmp_path,
        framework="torch",
        data="d",
        arrays=tmp_path,
        training=Training(),
        compute=Compute(),
        run_id="run",
        folder=tmp_path,
        storage="",
    )


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    rows = 600
    frame = pd.DataFrame(
        {
            "weight": random.normal(12, 3, rows),
            "pressure": random.normal(101_325, 700, rows),
            "maker": random.choice(["Ä&Co", "bolt, inc", "x"], rows),
            "door": random.choice(["left", "right", None], rows),
            "broke_after": random.normal(size=rows),
            "broke": random.integers(0, 2, rows),
            "at": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC"),
            "box": [f"b{i}" for i in range(rows)],
        }
    )
    frame.loc[::7, "weight"] = np.nan
    frame.loc[:4, "maker"] = "rare"
    return frame
