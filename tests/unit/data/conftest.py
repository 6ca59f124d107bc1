"""A small project of made-up flights and the rows to go with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Category, Number, Project, SplitRule


def _no_model(inputs: int, params: object) -> None: ...


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        name="trips",
        owner="someone@example.com",
        columns=(
            Number("distance", unit="mile", low=0, high=5000),
            Number("gust", low=0, nullable=True),
            Category("carrier", known=("AA", "UA")),
            Category("plane", nullable=True),
            Number("delay", after=True),
        ),
        target=Binary("late", "arrived late"),
        time="hour",
        row_id="trip",
        torch=_no_model,
        split=SplitRule(validation=timedelta(days=7), test=timedelta(days=7)),
        folder=tmp_path / "trips",
    )


@pytest.fixture
def make_rows() -> Callable[..., pd.DataFrame]:
    def make(rows: int = 2000, *, start: datetime = datetime(2024, 1, 1, tzinfo=UTC), seed: int = 1) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        hours = np.sort(random.integers(0, 24 * 59, rows))  # many rows share an hour
        delay = random.normal(5, 20, rows)
        return pd.DataFrame(
            {
                "trip": [f"t{seed}-{number:06d}" for number in range(rows)],
                "hour": (pd.Timestamp(start) + pd.to_timedelta(hours, unit="h")).astype("datetime64[us, UTC]"),
                "distance": random.uniform(10, 4000, rows).astype("float32"),
                "gust": np.where(random.random(rows) < 0.5, np.nan, 12.5).astype("float32"),
                "carrier": random.choice(["AA", "UA"], rows),
                "plane": random.choice(["", "N1", "N2"], rows),
                "delay": delay.astype("float32"),
                "late": (delay > 15).astype("int8"),
            }
        )

    return make


@pytest.fixture
def frame(make_rows: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_rows()


@pytest.fixture
def store(project: Project) -> Callable[[pd.DataFrame], None]:
    """Writes rows as the project's partitions."""

    def write(rows: pd.DataFrame) -> None:
        project.partitions.mkdir(parents=True, exist_ok=True)
        for month, part in rows.groupby(rows["hour"].dt.strftime("%Y-%m")):
            part.to_parquet(project.partitions / f"{month}.parquet", index=False)

    return write


@pytest.fixture
def with_split() -> Callable[..., Project]:
    def change(project: Project, **fields: Any) -> Project:
        return dataclasses.replace(project, split=dataclasses.replace(project.split, **fields))

    return change
