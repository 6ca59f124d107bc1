"""The product is also a package: its wheel in an empty environment, used in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as a release would be."""
    out = tmp_path_factory.mktemp("dist")
    call([UV, "build", "--out-dir", out, repository], cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(repository: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    call([UV, "venv", "--python", sys.executable, folder / "venv"], cwd=folder)
    python, pins = folder / "venv" / "bin" / "python", repository / "constraints.txt"
    call([UV, "pip", "install", "--python", python, "-c", pins, f"fullcircle[torch] @ {wheel.as_uri()}"], cwd=folder)
    return python.parent


def test_the_wheel_holds_the_package_its_templates_and_the_flows_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"fullcircle", f"{wheel.stem.split('-py3')[0]}.dist-info"}
    for needed in (
        "py.typed",
        "_flows/retrain.py",
        "_flows/watch.py",
        "_flows/replay.py",
        "_mlflow/server.env",
        "_mlflow/browser.json",
        "scaffold/templates/project.py.tmpl",
        "apps/replay/templates/report.html.j2",
        "apps/replay/templates/report.css",
        "store/migrations/env.py",
    ):
        assert f"fullcircle/{needed}" in names
    assert [name for name in names if name.endswith((".pyc", ".parquet"))] == []


def test_an_empty_environment_and_an_empty_folder_give_a_registered_champion(installed: Path, tmp_path: Path) -> None:
    fullcircle = installed / "fullcircle"
    call([fullcircle, "new", "my-project"], cwd=tmp_path)
    told = json.loads(call([fullcircle, "run", "my-project", "--json"], cwd=tmp_path))
    assert told["promoted"] is True
    status = json.loads(call([fullcircle, "status", "my-project", "--json"], cwd=tmp_path))
    assert status["aliases"]["champion"]["version"] == told["version"]["version"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fullcircle", "my-project"]


def test_the_installed_package_finds_its_own_flows(installed: Path, tmp_path: Path) -> None:
    script = "from fullcircle.orchestration.flow_paths import flows_folder; print(flows_folder())"
    folder = Path(call([installed / "python", "-c", script], cwd=tmp_path).strip())
    assert folder.is_relative_to(installed.parent)
    assert folder.name == "_flows"


def call(command: list[object], *, cwd: Path) -> str:
    """Run a program outside the checkout; its standard output. Fails the test with the end of what it said."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FULLCIRCLE_", "PYTHON", "VIRTUAL_"))
    }
    extra = {"UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "copy")}
    # uv reads names of its own for what pip is told about local wheels and certificates.
    for ours, theirs in (("UV_FIND_LINKS", "PIP_FIND_LINKS"), ("SSL_CERT_FILE", "PIP_CERT")):
        if value := os.environ.get(ours) or os.environ.get(theirs):
            extra[ours] = value
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | extra,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
