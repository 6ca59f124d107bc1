"""Nothing of ours can be imported in place of somebody else's module, whatever is put on sys.path."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


def test_platform_and_mlflow_are_no_packages(repository: Path) -> None:
    for folder in ("platform", "platform/src", "mlflow", "infra"):
        assert sorted((repository / folder).glob("*.py")) == [], f"{folder}/ must hold no .py: it would shadow a module"


def test_tests_and_flows_and_projects_are_no_packages(repository: Path) -> None:
    for folder in ("tests", "flows", "projects"):
        assert sorted((repository / folder).rglob("__init__.py")) == []


def test_nothing_that_lands_on_the_path_is_named_like_a_module_of_somebody_else(repository: Path) -> None:
    theirs = set(sys.stdlib_module_names) | (set(metadata.packages_distributions()) - {"fullcircle"})
    # Prefect puts flows/ on sys.path; pytest's default mode would put the test folders there.
    ours = [*(repository / "flows").rglob("*.py"), *(repository / "tests").rglob("*.py")]
    assert {path.stem for path in ours} & theirs == set()


@pytest.mark.parametrize("module", ["platform", "mlflow"])
def test_python_in_the_root_of_the_checkout_still_finds_the_real_module(repository: Path, module: str) -> None:
    script = f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"
    found = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert not Path(found.stdout.strip()).is_relative_to(repository / module)
    assert found.stdout.strip().endswith(".py")
