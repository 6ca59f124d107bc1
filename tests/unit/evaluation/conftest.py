"""A project of two columns and rows whose true probability is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import AtLeast, Binary, Category, NotWorse, Number, Project, SliceGate
from fullcircle.core.records.verdicts import Candidate


def build(inputs: int, params: object) -> None:
    """Never called: evaluation builds no model."""


@pytest.fixture
def make_project() -> Callable[..., Project]:
    """A project whose gates and slices a test may choose."""

    def make(**changes: object) -> Project:
        given: dict[str, object] = {
            "gates": (AtLeast("roc_auc", 0.55), NotWorse("log_loss", 0.01), SliceGate("origin", "roc_auc", drop=0.03)),
            "slices": ("origin",),
            "target": Binary("late", positive="late"),
        }
        return Project(
            name="flights",
            owner="ops@example.com",
            columns=(Number("distance"), Category("origin")),
            time="time",
            row_id="row_id",
            torch=build,
            **(given | changes),  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """The usual gates."""
    return make_project()


@pytest.fixture
def make_rows() -> Callable[..., tuple[pd.DataFrame, np.ndarray]]:
    """(frame, true probability of its labels)."""

    def make(rows: int = 4000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
        rng = np.random.default_rng(seed)
        logit = rng.normal(-1, 1.2, rows)
        truth = 1 / (1 + np.exp(-logit))
        frame = pd.DataFrame(
            {
                "distance": rng.uniform(100, 3000, rows).astype("float32"),
                "origin": rng.choice(["EWR", "JFK", "LGA"], rows),
                "late": (rng.random(rows) < truth).astype("int8"),
            }
        )
        return frame, truth

    return make


@pytest.fixture
def candidate() -> Candidate:
    """An exported graph well within every budget."""
    return Candidate(framework="torch", graph=Path("m.onnx"), digest="0" * 64, parity=1e-7, size_mb=0.3, p99_ms=0.1)


def noisy(truth: np.ndarray, noise: float, seed: int = 1) -> np.ndarray:
    """The true probability behind noise on the log-odds: the more noise, the worse the model."""
    logit = np.log(truth / (1 - truth)) + np.random.default_rng(seed).normal(0, noise, len(truth))
    return (1 / (1 + np.exp(-logit))).astype("float32")


@pytest.fixture(name="noisy")
def noisy_fixture() -> Callable[..., np.ndarray]:
    """`noisy` as a fixture: tests are no package to import it from."""
    return noisy


@pytest.fixture(scope="session")
def bench(repository: Path, script: Callable[[Path], Any]) -> Any:
    """`tests/benchmarks/gates.py`: simulations in which the truth is known."""
    return script(repository / "tests" / "benchmarks" / "gates.py")
