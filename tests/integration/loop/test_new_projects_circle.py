"""A new project of every kind goes through the whole circle as it was written, but for epochs and one framework."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.workspace import Workspace
from fullcircle.scaffold.kinds import KINDS
from fullcircle.scaffold.new_project import create
from fullcircle.tracking.runs.run_store import RunStore

APRIL = datetime(2024, 4, 1, tzinfo=UTC)
EVERY_CHANGE = ("multilabel",)
"""Of which no other circle is in these tests."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in EVERY_CHANGE else pytest.mark.nightly) for kind in KINDS]
)
def test_a_new_project_of_every_kind_is_trained_judged_explained_and_released(kind: str, tmp_path: Path) -> None:
    made = load_project("my-project", create("my-project", tmp_path, kind=kind).parent)
    project = dataclasses.replace(made, keras=None, training=dataclasses.replace(made.training, epochs=12))
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})

    result = retrain(project, Workspace(settings), until=APRIL)

    assert result.verdict.outcome is Outcome.PROMOTE, result.verdict.reasons
    assert set(result.evaluations) == {"baseline", "torch"}
    assert project.target.primary in result.evaluations["torch"].metrics
    tracker = RunStore(settings)
    assert tracker.download(result.winner_run_id, "explanation/shap_summary.png").read_bytes()[:4] == b"\x89PNG"
    assert project.target.meaning in tracker.download(result.winner_run_id, "model_card.md").read_text()
