"""How a project names its models: one mapping, and two short spellings of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Binary, Keras, Number, Project, Torch


def build(inputs: Any, params: Mapping[str, Any]) -> None:
    """No model: nobody trains here."""


def made(**models: Any) -> Project:
    return Project(
        name="pumps",
        owner="o@example.com",
        columns=(Number("x"),),
        target=Binary("broken", positive="broke"),
        time="time",
        row_id="id",
        labels_after=timedelta(days=1),
        **models,
    )


def test_the_short_spellings_name_the_same_models() -> None:
    short, long = made(torch=build, keras=build), made(models={"torch": Torch(build), "keras": Keras(build)})
    assert short.all_models == long.all_models == {"torch": Torch(build), "keras": Keras(build)}
    assert short.frameworks == long.frameworks == ("torch", "keras")


def test_the_spellings_go_together_and_a_model_may_have_any_name() -> None:
    project = made(torch=build, models={"deep": Torch(build), "wide": Keras(build)})
    assert project.frameworks == ("torch", "deep", "wide")
    assert [each.family for each in project.all_models.values()] == ["torch", "torch", "keras"]


@pytest.mark.parametrize("models", [{"torch": build}, {"models": {"torch": Torch(build)}}])
def test_a_changed_copy_has_the_same_models(models: dict[str, Any]) -> None:
    project = made(**models)
    assert dataclasses.replace(project, owner="p@example.com").all_models == project.all_models


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_model_that_both_spellings_name_is_refused(name: str) -> None:
    kind = {"torch": Torch, "keras": Keras}[name]
    with pytest.raises(
        ProjectInvalid, match=f"models must not give '{name}' a second time: {name}= says it too"
    ) as line:
        made(models={name: kind(build)}, **{name: build})
    assert line.value.exit_code == 2


@pytest.mark.parametrize(
    ("models", "line"),
    [
        ({}, "models must name at least one function that builds a model"),
        ({"torch": build}, r"models\['torch'\] must be a Torch\(build\) or Keras\(build\), whose build is a function"),
        ({"torch": Torch(3)}, r"models\['torch'\] must be a Torch\(build\)"),  # type: ignore[arg-type]
        ({"torch": Torch}, r"models\['torch'\] must be a Torch\(build\)"),
        ({"baseline": Torch(build)}, "none of them 'baseline'"),
        ({"Deep Net": Torch(build)}, "models must have names of lower-case letters"),
        ({3: Torch(build)}, "models must have names of lower-case letters"),
        ([Torch(build)], "models must be a mapping"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(models: Any, line: str) -> None:
    with pytest.raises(ProjectInvalid, match=line):
        made(models=models)
