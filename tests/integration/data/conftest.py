"""A small project with three partitions on disk, and a home with its DVC remote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings

MONTHS = ("2024-01", "2024-02", "2024-03")


def _no_model(inputs: int, params: object) -> None: ...


def write_month(folder: Path, month: str, rows: int = 500) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(int(month.replace("-", "")))
    frame = pd.DataFrame(
        {
            "id": [f"{month}-{number}" for number in range(rows)],
            "time": pd.date_range(f"{month}-01", periods=rows, freq="h", tz="UTC").astype("datetime64[us, UTC]"),
            "x": random.normal(size=rows).astype("float32"),
            "y": (random.random(rows) < 0.4).astype("int8"),
        }
    )
    frame.to_parquet(folder / f"{month}.parquet", index=False)
    return folder / f"{month}.parquet"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(
        name="signals", owner="someone@example.com", columns=(Number("x"),), target=Binary("y", "fired"),
        time="time", row_id="id", torch=_no_model, folder=tmp_path / "signals",
    )  # fmt: skip
    for month in MONTHS:
        write_month(made.partitions, month)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})
