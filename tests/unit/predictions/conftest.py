"""A small project and batches of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.predictions.batch import Batch

START = datetime(2013, 4, 1, tzinfo=UTC)
MakeBatch = Callable[..., Batch]


@pytest.fixture(scope="session")
def project() -> Project:
    return Project(
        name="small",
        owner="someone@example.com",
        columns=(Number("distance"), Number("wind", nullable=True), Category("carrier"), Number("delay", after=True)),
        target=Binary("late", positive="late"),
        time="time",
        row_id="id",
        torch=lambda inputs, params: None,
    )


@pytest.fixture
def batch() -> MakeBatch:
    """`batch(row_ids, *, hours=..., version=..., probability=...)`: one row an id, one hour apart."""

    def make(
        row_ids: Sequence[str], *, hours: float = 0, version: str = "1", probability: float = 0.5, wind: float = 1.5
    ) -> Batch:
        rows = len(row_ids)
        return Batch(
            model_version=version,
            digest="sha-of-" + version,
            event_times=[START + timedelta(hours=hours + index) for index in range(rows)],
            row_ids=list(row_ids),
            inputs={
                "distance": np.arange(rows, dtype="float32").reshape(-1, 1),
                "wind": np.full((rows, 1), wind, "float32"),
                "carrier": np.full((rows, 1), "UA", object),
            },
            answers=np.full(rows, probability, "float32"),
        )

    return make
