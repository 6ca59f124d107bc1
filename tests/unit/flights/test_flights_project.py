"""The flights project: it loads, both models fit the port's shape, and no outcome is among what a model sees."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project

ROOT = Path(__file__).resolve().parents[3]
AFTER = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("flights", ROOT)


def test_columns_known_only_after_the_outcome_are_no_inputs(project: Project) -> None:
    assert {column.name for column in project.columns if column.after} == AFTER
    assert not AFTER & {column.name for column in project.inputs}


def test_every_column_is_one_that_the_data_stage_writes(project: Project) -> None:
    tree = ast.parse((ROOT / "projects/flights/prepare.py").read_text(encoding="utf-8"))
    types = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "TYPES" and node.value
    )
    wanted = {column.name for column in project.columns} | {project.target.name, project.time, project.row_id}
    assert wanted <= set(types)


def test_the_runbook_that_the_page_links_to_exists(project: Project) -> None:
    assert (ROOT / project.runbook).is_file()


def test_the_torch_model_answers_one_logit_a_row(project: Project) -> None:
    torch = pytest.importorskip("torch")
    assert project.torch is not None
    model = project.torch(7, project.training.extra).eval()
    with torch.no_grad():
        assert tuple(model(torch.zeros(3, 7)).shape) == (3, 1)


@pytest.mark.slow
def test_the_keras_model_is_the_same_perceptron(project: Project) -> None:
    pytest.importorskip("keras")
    torch = pytest.importorskip("torch")
    assert project.torch is not None and project.keras is not None
    keras_model = project.keras(7, project.training.extra)
    torch_model: torch.nn.Module = project.torch(7, project.training.extra)
    assert np.asarray(keras_model(np.zeros((3, 7), dtype=np.float32))).shape == (3, 1)
    assert keras_model.count_params() == sum(p.numel() for p in torch_model.parameters())


def test_a_year_has_a_budget_of_six_retrains(project: Project) -> None:
    assert project.policy.max_retrains <= 6
