"""Files that change while they are checked and versioned are never learned from under another version's name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from fullcircle.core.errors import DataUnavailable
from fullcircle.data.data_versions import Versions
from fullcircle.data.partitions import partitions
from fullcircle.loop.retraining.retrain import checked_rows, version_data
from fullcircle.loop.workspace import Workspace

UNTIL = datetime(2024, 3, 10, tzinfo=UTC)


def arrives(folder: Path) -> None:
    shutil.copyfile(folder / "2024-02.parquet", folder / "2024-06.parquet")


def goes(folder: Path) -> None:
    (folder / "2024-02.parquet").unlink()


def shrinks(folder: Path) -> None:
    path = folder / "2024-03.parquet"
    pd.read_parquet(path).tail(-1).to_parquet(path, index=False)


@pytest.mark.parametrize("changed", [arrives, goes, shrinks])
def test_rows_that_were_checked_and_others_that_were_versioned_stop_the_training(
    project, settings, changed: Callable[[Path], None]
):
    rows = checked_rows(project, settings, UNTIL)
    assert version_data(project, Workspace(settings), UNTIL, len(rows)).project == project.name

    changed(project.partitions)

    with pytest.raises(DataUnavailable, match=r"1,216 rows were checked, and the files have .* now; they changed"):
        version_data(project, Workspace(settings), UNTIL, len(rows))


def test_a_file_that_changed_since_it_was_looked_at_is_not_versioned(project, settings):
    parts = partitions(project)
    shrinks(project.partitions)

    with pytest.raises(DataUnavailable, match=r"2024-03\.parquet changed while it was versioned"):
        Versions(settings).commit(project, parts)
