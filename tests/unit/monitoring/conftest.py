"""A project of four columns, a reference without any drift, and windows drawn from the same world."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.health import Window


def build(inputs: int, params: object) -> None:
    """Never called: monitoring builds no model."""


@pytest.fixture
def project() -> Project:
    """Two numbers, one of which may be missing, and two categories."""
    return Project(
        name="flights",
        owner="ops@example.com",
        runbook="docs/runbooks/flights.md",
        columns=(
            Number("distance", low=0, high=6000),
            Number("gust", nullable=True),
            Category("origin", known=("EWR", "JFK", "LGA")),
            Category("carrier", nullable=True),
            Number("delay", after=True),
        ),
        target=Binary("late", positive="late"),
        time="time",
        row_id="row_id",
        torch=build,
    )


@pytest.fixture
def make_rows() -> Callable[..., pd.DataFrame]:
    """Rows as the prediction log gives them back, all from one distribution."""

    def make(rows: int, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        gust = rng.gamma(2, 8, rows)
        gust[rng.random(rows) < 0.3] = np.nan
        probability = rng.beta(2, 6, rows)
        return pd.DataFrame(
            {
                "distance": rng.lognormal(6.5, 0.5, rows).clip(50, 5000).astype("float32"),
                "gust": gust.astype("float32"),
                "origin": rng.choice(["EWR", "JFK", "LGA"], rows, p=[0.4, 0.35, 0.25]),
                "carrier": rng.choice(["AA", "B6", "DL", "UA", ""], rows, p=[0.3, 0.3, 0.2, 0.15, 0.05]),
                "probability": probability.astype("float32"),
                "label": (rng.random(rows) < probability).astype("float64"),
            }
        )

    return make


@pytest.fixture
def make_window() -> Callable[[pd.DataFrame], Window]:
    """The window of such rows."""

    def make(rows: pd.DataFrame) -> Window:
        return Window(
            project="flights",
            start=datetime(2013, 4, 1, tzinfo=UTC),
            end=datetime(2013, 5, 1, tzinfo=UTC),
            rows=len(rows),
            labelled=int(rows["label"].notna().sum()),
            versions=("3",),
        )

    return make
