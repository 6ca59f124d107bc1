"""A replay lives through the months of a folder, and refuses rows that lie in the file of another one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fullcircle.apps.replay.replay import replay
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace


def test_a_replay_refuses_rows_in_the_file_of_another_month_before_it_begins(tmp_path: Path) -> None:
    project = Project(
        name="months", owner="o@example.com", columns=(Number("x"),), target=Binary("y", "yes"), time="at", row_id="id",
        torch=lambda *_: None, folder=tmp_path,
    )  # fmt: skip
    project.partitions.mkdir()
    for month in range(1, 6):
        at = pd.date_range(f"2024-{month:02}-01", periods=24, freq="D", tz="UTC")
        if month == 4:
            at = at[:-1].append(pd.DatetimeIndex(["2024-05-01"], tz="UTC"))
        rows = pd.DataFrame({"at": at, "id": [f"{month}-{day}" for day in range(24)], "x": 1.0, "y": 0})
        rows.to_parquet(project.partitions / f"2024-{month:02}.parquet", index=False)
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})

    with pytest.raises(
        UsageError, match=r"2024-04\.parquet of months has rows from 2024-04-01 to 2024-05-01; a replay"
    ):
        replay(project, Workspace(settings))

    assert not list((tmp_path / "home").glob("*.db"))
