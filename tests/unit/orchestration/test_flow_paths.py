"""Flows are found and loaded without touching sys.path."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from fullcircle.core.errors import UsageError
from fullcircle.orchestration.flow_paths import FLOWS, flow_file, flows_folder, load_flow


def test_the_checkout_s_flows_are_found(repository: Path) -> None:
    assert flows_folder() == repository / "flows"
    assert tuple(sorted(path.stem for path in flows_folder().glob("*.py"))) == FLOWS


def test_an_unknown_flow_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no flow 'deploy'; the flows are deliver, replay, retrain, watch"):
        flow_file("deploy")


def test_no_flow_is_named_like_something_that_can_be_imported() -> None:
    # Prefect puts flows/ on sys.path: a file there named like a dependency would be imported in its place.
    taken = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    assert {path.stem for path in flows_folder().glob("*.py")} & taken == set()


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_loaded_once_and_leaves_sys_path_alone(name: str) -> None:
    before = list(sys.path)
    module = load_flow(name)
    assert getattr(module, name).name == name
    assert load_flow(name) is module
    assert sys.path == before
