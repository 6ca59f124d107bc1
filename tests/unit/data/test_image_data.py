"""Images in the data stages: the contract names the rows, a leak in a single pixel is found, partitions are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import ContractViolated, LeakageFound
from fullcircle.core.project import Binary, Image, Number, Project, SplitRule
from fullcircle.core.records.dataset import Violation
from fullcircle.core.row_tensors import pixels
from fullcircle.data.association import strength
from fullcircle.data.contract import check, enforce
from fullcircle.data.contract_rules import column_rules
from fullcircle.data.parquet_reader import load
from fullcircle.data.partitions import partitions
from fullcircle.data.splits import split

SCAN = Image("scan", shape=(4, 4, 1), high=16, unit="grey level")
NOW = datetime(2024, 12, 31, tzinfo=UTC)


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(
        name="scans",
        owner="tests@example.com",
        columns=(SCAN, Number("grade", after=True)),
        target=Binary("ill", "ill within a year"),
        time="at",
        row_id="scan_id",
        torch=lambda inputs, params: None,
        split=SplitRule(validation=timedelta(days=7), test=timedelta(days=7)),
        folder=tmp_path / "scans",
    )


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(4)
    ill = random.integers(0, 2, 1500)
    images = random.uniform(0, 12, (1500, 16)) + 2 * ill[:, None] * random.uniform(0, 1, (1500, 16))
    return pd.DataFrame(
        {
            "scan_id": [f"s{i:04d}" for i in range(1500)],
            "at": pd.date_range("2024-01-01", periods=1500, freq="h", tz="UTC").astype("datetime64[us, UTC]"),
            "scan": list(images.astype("float32")),
            "grade": random.normal(size=1500),
            "ill": ill,
        }
    )


def with_cell(frame: pd.DataFrame, row: int, cell: object) -> pd.DataFrame:
    cells = list(frame["scan"])
    cells[row] = cell
    return frame.assign(scan=pd.Series(cells, index=frame.index, dtype=object))


def test_a_clean_batch_of_images_passes(project, frame):
    assert check(project, frame).ok


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        (np.zeros(15, "float32"), "has 16 numbers (4 x 4 x 1)"),
        (np.full(16, 16.5, "float32"), "has every pixel between 0 and 16 grey level"),
        (np.full(16, -1, "float32"), "has every pixel between 0 and 16 grey level"),
        (np.array([np.nan] + [0] * 15, "float32"), "is finite as float32"),
        ("a picture", "is a list of numbers"),
        ([1.0, "dark"] + [0.0] * 14, "is a list of numbers"),
        ([[1.0], [2.0, 3.0]], "is a list of numbers"),
        (7.0, "is a list of numbers"),
        (None, "is not missing"),
    ],
)
def test_one_wrong_image_is_one_violation_with_its_row(project, frame, cell, rule):
    report = check(project, with_cell(frame, 7, cell))

    assert report.violations == (Violation(column="scan", rule=rule, count=1, examples=("s0007",)),)


def test_an_infinite_pixel_breaks_both_finiteness_and_range_and_a_batch_of_it_is_kept_aside(project, frame, tmp_path):
    broken = with_cell(frame, 3, np.array([np.inf] + [0] * 15, "float32"))

    with pytest.raises(ContractViolated, match="such as s0003") as stopped:
        enforce(project, broken, tmp_path / "quarantine")

    assert {violation.count for violation in stopped.value.report.violations} == {1}
    kept = pd.read_parquet(f"{stopped.value.quarantine}/batch.parquet")
    assert np.isinf(kept["scan"].iloc[3]).sum() == 1


@pytest.mark.parametrize("cells", [[1, None, "x"], [np.nan, [], {}], [[[1], [2]], b"", np.array(["a"])], []])
def test_no_value_whatever_makes_an_image_rule_fail_to_answer(cells):
    values = pd.Series(cells, dtype=object)

    for rule in column_rules(SCAN):
        assert rule.holds(values).dtype == bool
        assert len(rule.holds(values)) == len(cells)


def test_partitions_of_images_are_read_in_the_order_of_time(project, frame):
    project.partitions.mkdir(parents=True)
    for month, part in frame.sample(frac=1, random_state=0).groupby(frame["at"].dt.strftime("%Y-%m")):
        part.to_parquet(project.partitions / f"{month}.parquet", index=False)

    rows = load(partitions(project), project)

    assert list(rows["scan_id"]) == list(frame["scan_id"])
    np.testing.assert_array_equal(pixels(frame["scan"], SCAN), pixels(rows["scan"], SCAN))


def test_images_that_only_together_tell_the_answer_are_split(project, frame):
    made, frames = split(project, frame, now=NOW)

    assert made.leakage.strongest[0][0] == "scan"
    assert made.leakage.strongest[0][1] < 0.95
    assert list(frames.train.columns) == ["scan", "ill", "at", "scan_id"]


def test_a_mark_in_one_pixel_that_gives_the_answer_away_is_a_leak(project, frame):
    images = pixels(frame["scan"], SCAN)
    images[:, 5] = 10 * frame["ill"] + np.random.default_rng(0).uniform(0, 2, len(frame))

    with pytest.raises(LeakageFound, match="'scan' alone reaches ROC AUC"):
        split(project, frame.assign(scan=list(images)), now=NOW)


def test_the_strength_of_an_image_is_that_of_its_strongest_pixel_in_either_direction(frame):
    labels = frame["ill"].to_numpy() == 1
    images = np.random.default_rng(0).uniform(0, 1, (len(frame), 16)).astype("float32")
    assert strength(SCAN, pd.Series(list(images)), labels) < 0.6

    images[:, 9] = 5 - 3 * labels
    assert strength(SCAN, pd.Series(list(images)), labels) == 1.0


def test_an_image_that_copies_one_known_only_afterwards_is_a_leak(project, frame):
    import dataclasses

    later = Image("later_scan", shape=(4, 4, 1), high=16, after=True)
    project = dataclasses.replace(project, columns=(SCAN, later))

    with pytest.raises(LeakageFound, match="'scan' is a copy of 'later_scan'"):
        split(project, frame.assign(later_scan=frame["scan"]), now=NOW)
