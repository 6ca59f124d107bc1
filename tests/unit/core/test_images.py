"""An image column: what a project may say of it, and how its rows become tensors and frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Binary, Image, Number, Project, SliceGate
from fullcircle.core.row_tensors import pixels, raw_frame, tensors

SCAN = Image("scan", shape=(2, 3, 1), high=16)


@pytest.fixture
def project() -> Project:
    return Project(
        name="scans",
        owner="tests@example.com",
        columns=(SCAN, Number("grade", after=True)),
        target=Binary("ill", "ill within a year"),
        time="at",
        row_id="scan_id",
        torch=lambda inputs, params: None,
    )


def test_an_image_may_be_the_only_input_beside_what_is_known_afterwards(project):
    assert project.inputs == (SCAN,)
    assert (SCAN.values, SCAN.size, SCAN.nullable) == (6, "2 x 3 x 1", False)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ((SCAN, Number("age")), "columns must have the image 'scan' as the only input"),
        ((SCAN, Image("second", shape=(1, 1, 1))), "columns must have the image 'scan' as the only input"),
        ((Image("scan", shape=(8, 8, 1), low=3, high=3),), "the range of image 'scan' must be finite, low below high"),
    ],
)
def test_columns_that_do_not_fit_an_image_project_are_refused_in_one_line(project, columns, says):
    with pytest.raises(ProjectInvalid) as refused:
        dataclasses.replace(project, columns=columns)

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("shape", [(8, 8), (8, 0, 1), (8, 8, 1, 1), (8.0, 8, 1), "881", 8])
def test_a_shape_is_height_width_and_channels(shape):
    with pytest.raises(ProjectInvalid, match=r"image 'scan'.shape must be a list of 3 in which each is a whole number"):
        Image("scan", shape=shape)
    assert Image("scan", shape=[8, 8, 1]).shape == (8, 8, 1)


def test_an_image_without_a_finite_range_is_none():
    with pytest.raises(ProjectInvalid, match=r"image 'scan'.high must be a number from .*, got inf"):
        Image("scan", shape=(8, 8, 1), high=float("inf"))


@pytest.mark.parametrize("fields", [{"slices": ("scan",)}, {"gates": (SliceGate("scan", "roc_auc", drop=0.1),)}])
def test_an_image_cannot_be_sliced_by(project, fields):
    with pytest.raises(ProjectInvalid, match="slices must name input columns that are numbers or categories"):
        dataclasses.replace(project, **fields)


@pytest.mark.parametrize("form", ["flat", "nested", "list", "float64"])
def test_images_become_one_tensor_channels_last_whatever_form_a_cell_has(form):
    wanted = np.arange(24, dtype="float32").reshape(4, 2, 3, 1)
    cells = {
        "flat": [image.reshape(-1) for image in wanted],
        "nested": list(wanted),
        "list": [image.reshape(-1).tolist() for image in wanted],
        "float64": [image.reshape(-1).astype("float64") for image in wanted],
    }[form]
    frame = pd.DataFrame({"scan": pd.Series(cells, dtype=object)})

    found = tensors(frame, [SCAN])["scan"]

    assert found.dtype == np.float32
    np.testing.assert_array_equal(wanted, found)


def test_the_raw_frame_of_images_survives_parquet_to_the_last_bit(tmp_path):
    frame = pd.DataFrame({"scan": list(np.random.default_rng(1).normal(size=(5, 6))), "other": 1.0}, index=range(3, 8))

    raw = raw_frame(frame, [SCAN, Number("other")])
    raw.to_parquet(tmp_path / "raw.parquet")
    back = pd.read_parquet(tmp_path / "raw.parquet")

    assert [cell.dtype for cell in raw["scan"]] == [np.dtype("float32")] * 5
    assert list(raw.index) == list(back.index)
    np.testing.assert_array_equal(pixels(raw["scan"], SCAN), pixels(back["scan"], SCAN))


@pytest.mark.parametrize(("cell", "had"), [([1.0] * 5, "5 numbers"), (None, "no image")])
def test_a_cell_that_is_no_image_of_that_size_names_its_row(cell, had):
    frame = pd.DataFrame({"scan": pd.Series([[0.0] * 6, cell], dtype=object)})

    with pytest.raises(ValueError, match=f"column 'scan', row 1: 6 numbers make an image, got {had}"):
        tensors(frame, [SCAN])
