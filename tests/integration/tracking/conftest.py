"""What tests of tracking share: a project that trains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fullcircle.core.project import Binary, Number, Project


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
