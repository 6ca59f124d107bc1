"""The house's walls: who may import whom, and which tool lives where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS_FOR_FLOWS = {"apps", "core", "loop", "orchestration"}


def test_no_import_goes_upwards_and_every_tool_stays_in_its_room(repository: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_flows_use_prefect_and_the_use_cases_alone(repository: Path) -> None:
    for path in sorted((repository / "flows").rglob("*.py")):
        for name in imports(path):
            first, *rest = name.split(".")
            if first == "fullcircle":
                assert rest[:1] and rest[0] in ROOMS_FOR_FLOWS, f"{path.name} imports {name}"
            else:
                assert first == "prefect" or first in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_a_project_file_knows_the_project_contract_alone(repository: Path) -> None:
    for path in sorted((repository / "projects").glob("*/project.py")):
        ours = {name for name in imports(path) if name.split(".")[0] == "fullcircle"}
        assert ours == {"fullcircle.core.project"}


def test_a_room_opens_with_its_purpose_and_nothing_else(package: Path) -> None:
    rooms = sorted(path for path in package.glob("*/__init__.py") if path.parent.name != "cli")
    assert rooms
    for path in rooms:
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, f"{path} does something at import"
        assert isinstance(body[0], ast.Expr)


TOOLS = frozenset({"Database", "Registry", "RunStore", "Versions"})
"""What a `Workspace` makes once."""


def test_use_cases_commands_and_flows_build_no_tool_that_a_workspace_has(repository: Path, package: Path) -> None:
    above = [path for room in ("apps", "cli", "loop", "orchestration") for path in (package / room).rglob("*.py")]
    made = {
        f"{path.name}:{node.lineno} {node.func.id}"
        for path in (*above, *(repository / "flows").rglob("*.py"))
        if path != package / "loop" / "workspace.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TOOLS
    }
    assert made == set()
    wired = ast.parse((package / "loop" / "workspace.py").read_text())
    assert {node.id for node in ast.walk(wired) if isinstance(node, ast.Name)} >= TOOLS


def test_no_file_has_a_name_that_says_nothing(package: Path) -> None:
    empty = {"utils", "util", "helpers", "helper", "manager", "process", "misc", "common"}
    assert {path.stem for path in package.rglob("*.py")} & empty == set()


@pytest.mark.parametrize("word", ["pickle", "dill", "joblib", "cloudpickle"])
def test_nothing_is_unpickled(package: Path, word: str) -> None:
    assert [path for path in package.rglob("*.py") if word in {name.split(".")[0] for name in imports(path)}] == []


def test_one_stage_of_an_example_reads_a_pickle_and_says_why(repository: Path) -> None:
    """The package that ships the storms has them in no other form; see projects/storms/README.md."""
    files = [path for folder in ("projects", "flows") for path in (repository / folder).rglob("*.py")]
    reading = [path for path in files if "pickle" in {name.split(".")[0] for name in imports(path)}]
    assert reading == [repository / "projects" / "storms" / "unpickle.py"]


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found
