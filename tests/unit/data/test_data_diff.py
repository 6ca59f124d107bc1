"""In which files and rows a folder differs from a data version."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from fullcircle.core.records.dataset import DataVersion
from fullcircle.data.data_diff import changes
from fullcircle.data.dvc_pointers import md5_of

MONTHS = ("2024-01", "2024-02")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    folder.mkdir()
    for month in MONTHS:
        rows = pd.DataFrame({"id": range(4), "x": [1.0, 2.0, None, 4.0], "name": ["a", "b", "c", None]})
        rows.to_parquet(folder / f"{month}.parquet", index=False)
    return folder


@pytest.fixture
def other(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "other")


def version(folder: Path) -> DataVersion:
    files = tuple((path.name, md5_of(path)) for path in sorted(folder.glob("*.parquet")))
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return DataVersion(
        project="p", digest="d", pointer="", files=files, rows=8, size_bytes=1, start=moment, end=moment, fingerprint=""
    )


def edit(path: Path, column: str, row: int, value: object) -> None:
    rows = pd.read_parquet(path)
    rows.loc[row, column] = value
    rows.to_parquet(path, index=False)


def test_the_same_bytes_and_later_months_are_no_change(original: Path, other: Path) -> None:
    shutil.copy(other / "2024-01.parquet", other / "2024-03.parquet")
    assert list(changes(version(original), other, original)) == []


def test_a_changed_value_is_named_by_file_row_and_column(original: Path, other: Path) -> None:
    edit(other / "2024-02.parquet", "x", 2, 7.0)
    edit(other / "2024-02.parquet", "name", 3, "z")
    what = "2024-02.parquet: 2 of 4 rows changed, the first is row 2, column 'x': nan -> 7.0"
    assert list(changes(version(original), other, original)) == [("2024-02.parquet", what)]
    assert list(changes(version(original), other, None)) == [("2024-02.parquet", "2024-02.parquet: other bytes")]


def test_missing_and_new_files_and_other_numbers_of_rows_are_told(original: Path, other: Path) -> None:
    known = version(original)
    (other / "2024-01.parquet").unlink()
    shutil.copy(original / "2024-01.parquet", other / "2023-12.parquet")
    pd.read_parquet(other / "2024-02.parquet").head(3).to_parquet(other / "2024-02.parquet", index=False)
    assert [what for _, what in changes(known, other, original)] == [
        "2023-12.parquet is new",
        "2024-01.parquet is missing",
        "2024-02.parquet: 4 rows -> 3 rows",
    ]


def test_other_columns_other_bytes_and_a_file_that_does_not_read_are_told(original: Path, other: Path) -> None:
    pd.read_parquet(other / "2024-01.parquet").drop(columns="x").to_parquet(other / "2024-01.parquet", index=False)
    rows = pd.read_parquet(other / "2024-02.parquet")
    rows.to_parquet(other / "2024-02.parquet", index=False, compression="gzip")
    assert [what for _, what in changes(version(original), other, original)] == [
        "2024-01.parquet: other columns (x)",
        "2024-02.parquet: the same rows in other bytes",
    ]
    (other / "2024-01.parquet").write_text("no table")
    (_, what), _ = changes(version(original), other, original)
    assert what.startswith("2024-01.parquet: it does not read (")
