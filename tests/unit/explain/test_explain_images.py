"""SHAP of images: additive, where the model looks and nowhere else, and a picture of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import DataUnavailable, HomeUnwritable
from fullcircle.core.project import Binary, Image, Project
from fullcircle.core.row_tensors import pixels
from fullcircle.explain.heat_maps import heat_maps
from fullcircle.explain.image_values import BACKGROUND_IMAGES, EXPLAINED, ImageExplanation, explain_images

SCAN = Image("scan", shape=(5, 6, 1), high=10)


def project_of(column: Image) -> Project:
    return Project(
        name="scans",
        owner="tests@example.com",
        columns=(column,),
        target=Binary("ill", "ill within a year"),
        time="at",
        row_id="scan_id",
        torch=lambda inputs, params: None,
    )


def scans(column: Image, rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    images = random.uniform(column.low, column.high, (rows, column.values)).astype("float32")
    return pd.DataFrame(
        {"scan": list(images), "scan_id": [f"s{i}" for i in range(rows)], "ill": random.integers(0, 2, rows)}
    )


def looks_at(column: Image, y: slice, x: slice):
    """A scorer that sees one part of the image alone."""

    def score(frame: pd.DataFrame) -> np.ndarray:
        images = pixels(frame["scan"], column).reshape(-1, *column.shape)
        return (1 / (1 + np.exp(5 - images[:, y, x].mean(axis=(1, 2, 3))))).astype(np.float32)

    return score


@pytest.fixture(scope="module")
def explanation() -> ImageExplanation:
    score = looks_at(SCAN, slice(1, 3), slice(2, 4))
    return explain_images(score, project_of(SCAN), scans(SCAN, 100, 1), scans(SCAN, 200, 2), seed=4)


def test_base_and_values_add_up_to_the_probability(explanation):
    np.testing.assert_allclose(explanation.base + explanation.values.sum(axis=(1, 2)), explanation.answers, atol=1e-6)


def test_only_what_the_model_looks_at_has_an_effect(explanation):
    seen = np.zeros((5, 6), dtype=bool)
    seen[1:3, 2:4] = True

    assert explanation.values.shape == (EXPLAINED, 5, 6)
    assert np.abs(explanation.values[:, ~seen]).max() < 1e-9
    assert (np.abs(explanation.values[:, seen]) > 1e-4).all(axis=1).mean() > 0.9


def test_the_surest_answers_and_the_least_sure_are_explained_in_their_order(explanation):
    rows = scans(SCAN, 200, 2)
    answers = np.sort(looks_at(SCAN, slice(1, 3), slice(2, 4))(rows).astype("float64"))[::-1]
    third = EXPLAINED // 3

    np.testing.assert_array_equal(answers[:third], explanation.answers[:third])
    np.testing.assert_array_equal(answers[-third:], explanation.answers[-third:])
    nearest = np.sort(np.abs(answers - 0.5))[:third]
    np.testing.assert_allclose(np.sort(np.abs(explanation.answers[third:-third] - 0.5)), nearest)
    labels = rows.set_index("scan_id")["ill"]
    assert explanation.labels.tolist() == labels.loc[list(explanation.row_ids)].tolist()


def test_the_same_seed_explains_the_same_images_the_same_way(explanation):
    score = looks_at(SCAN, slice(1, 3), slice(2, 4))

    again = explain_images(score, project_of(SCAN), scans(SCAN, 100, 1), scans(SCAN, 200, 2), seed=4)

    assert again.row_ids == explanation.row_ids
    assert again.values.tobytes() == explanation.values.tobytes()


def test_large_images_are_explained_in_patches_all_channels_together(tmp_path):
    photo = Image("scan", shape=(40, 30, 3))
    score = looks_at(photo, slice(0, 4), slice(0, 4))

    found = explain_images(score, project_of(photo), scans(photo, 10, 1), scans(photo, 3, 2))

    patches = found.values.shape[1:]
    assert max(patches) <= 14
    assert found.heat().shape == (3, 40, 30)
    assert np.abs(found.heat()[:, 20:, 20:]).max() < 1e-9
    np.testing.assert_allclose(found.base + found.values.sum(axis=(1, 2)), found.answers, atol=1e-6)
    assert heat_maps(found, tmp_path / "photos.png").is_file()


@pytest.mark.parametrize(("side", "patches"), [(8, 8), (28, 14), (64, 6), (1000, 4)])
def test_the_larger_the_image_the_coarser_its_patches(side, patches):
    from fullcircle.explain.image_values import _Patches

    column = Image("scan", shape=(side, side, 1))
    masker = _Patches(column, np.zeros((BACKGROUND_IMAGES, column.values), "float32"))

    assert max(masker.grid) <= patches
    assert masker.patch[0] * masker.grid[0] >= side


def test_few_rows_are_all_explained_and_none_is_an_error():
    score, project = looks_at(SCAN, slice(0, 1), slice(0, 1)), project_of(SCAN)

    assert len(explain_images(score, project, scans(SCAN, 2, 1), scans(SCAN, 2, 2)).images) == 2
    for background, rows in ((0, 5), (5, 0)):
        with pytest.raises(DataUnavailable, match="'scans': no images to explain"):
            explain_images(score, project, scans(SCAN, background, 1), scans(SCAN, rows, 2))


def test_the_picture_is_a_png_whatever_the_values(explanation, tmp_path):
    flat = dataclasses.replace(
        explanation, images=np.zeros_like(explanation.images), values=np.zeros_like(explanation.values)
    )
    for name, one in (("usual", explanation), ("flat", flat)):
        content = heat_maps(one, tmp_path / "new" / f"{name}.png").read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) > 20_000


def test_a_folder_that_cannot_be_written_is_said_in_one_line(explanation, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(HomeUnwritable, match="cannot write to"):
        heat_maps(explanation, tmp_path / "file" / "summary.png")
