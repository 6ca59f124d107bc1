"""What tests of tracking share: a project that trains nothing, and MLflow's own model server."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import Service, free_port


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        name="tracked",
        owner="o",
        columns=(Number("x"),),
        target=Binary("y", positive="p"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        folder=tmp_path,
    )


@pytest.fixture
def mlflow_answers(tmp_path: Path) -> Callable[[Settings, str, object], Any]:
    """The predictions of plain `mlflow models serve`, started on the champion of a name as a user of MLflow would."""

    def answers(settings: Settings, name: str, body: object) -> Any:
        port = free_port()
        words = ["models", "serve", "-m", f"models:/{name}@champion", "--env-manager", "local", "--workers", "1"]
        where = ["--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "mlflow", *words, *where]
        # MLflow starts uvicorn by name, from PATH.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {"MLFLOW_TRACKING_URI": settings.tracking_uri, "PATH": path}
        url = f"http://127.0.0.1:{port}"
        with Service(name="mlflow", command=command, ready_url=f"{url}/ping", log=tmp_path / "serve.log", env=env):
            return _posted(f"{url}/invocations", body)["predictions"]

    return answers


def _posted(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())
