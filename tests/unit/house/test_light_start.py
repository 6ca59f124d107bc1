"""The command line starts fast because nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *("torch", "tensorflow", "keras", "mlflow", "evidently", "shap", "dvc", "sklearn", "pandas", "scipy", "pandera"),
    *("onnx", "onnxruntime", "skl2onnx", "prefect", "sqlalchemy", "alembic", "apprise", "matplotlib", "pyarrow"),
    *("starlette", "uvicorn", "msgspec", "httpx", "jinja2", "rich", "numpy", "optuna"),
}
COMMANDS = (
    "demo",
    "new",
    "run",
    "train",
    "tune",
    "reproduce",
    "replay",
    "data",
    "serve",
    "ui",
    "tensorboard",
    "watch",
    "promote",
    "approve",
    "reject",
    "rollback",
    "who",
    "ledger",
    "trace",
    "impact",
    "incidents",
    "status",
    "sync",
    "schedule",
    "backup",
    "restore",
)


def loaded_by(script: str) -> set[str]:
    """The top-level modules that are imported once a new interpreter ran the script."""
    ending = "import sys, json, atexit; atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
    done = subprocess.run([sys.executable, "-c", ending + script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_help_imports_nothing_heavy() -> None:
    started = loaded_by("sys.argv = ['fullcircle', '--help']\nfrom fullcircle.cli import main\nmain()")
    assert "click" in started
    assert started & HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy_either(command: str) -> None:
    started = loaded_by(f"sys.argv = ['fullcircle', {command!r}, '--help']\nfrom fullcircle.cli import main\nmain()")
    assert started & HEAVY == set()


def test_the_commands_listed_here_are_all_that_there_are() -> None:
    from fullcircle.cli import SECTIONS

    assert sorted(SECTIONS) == sorted(COMMANDS)


def test_every_room_is_imported_without_its_tools(package: Path) -> None:
    rooms = sorted(path.parent.name for path in package.glob("*/__init__.py"))
    started = loaded_by("".join(f"import fullcircle.{room}\n" for room in rooms))
    assert started & (HEAVY - {"numpy"}) == set()


def test_the_example_project_is_loaded_without_its_frameworks(tmp_path: Path) -> None:
    from fullcircle.scaffold.new_project import create

    create("my-project", tmp_path)
    started = loaded_by(
        "from pathlib import Path\nfrom fullcircle.core.project.loading import load_project\n"
        f"load_project('my-project', Path({str(tmp_path)!r}))"
    )
    assert started & (HEAVY - {"numpy"}) == set(), "a task brings NumPy and nothing else"


def test_starting_the_command_line_switches_telemetry_off() -> None:
    script = (
        "import os, sys\nfor name in {names!r}: os.environ.pop(name, None)\n"
        "sys.argv = ['fullcircle', '--version']\nfrom fullcircle.cli import main\n"
        "try: main()\nfinally: print([os.environ.get(name) for name in {names!r}])"
    )
    names = ["DVC_NO_ANALYTICS", "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"]
    done = subprocess.run(
        [sys.executable, "-c", script.format(names=names)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['true', 'false', '1', 'true']"
