"""Drift of images: found when they are turned or noisy, and no more false alarms than promised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from fullcircle.core.project import Binary, Image, Project, Watch
from fullcircle.core.records.health import Window
from fullcircle.core.row_tensors import pixels
from fullcircle.monitoring.drift import column_drift
from fullcircle.monitoring.health import assess_window
from fullcircle.monitoring.image_drift import as_numbers, embed, image_drift, part_drift
from fullcircle.monitoring.image_embedding import COMPONENTS, GRID, Embedding, is_there
from fullcircle.monitoring.quality import quality

SCAN = Image("scan", shape=(8, 8, 1), high=16)


def scans(images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"scan": list(images.reshape(len(images), -1).astype("float32"))})


def strokes(rows: int, seed: int, side: int = 8) -> np.ndarray:
    """Pictures of two soft strokes at random places, 0 to 16: no two alike, all from one world."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    found = np.zeros((rows, side, side))
    for _ in range(2):
        middle, slope = random.uniform(0.2, 0.8, (rows, 1, 1)), random.normal(0, 0.25, (rows, 1, 1))
        found += np.exp(-(((x - middle - slope * (y - 0.5)) / 0.12) ** 2))
    return np.clip(16 * found * random.uniform(0.7, 1.0, (rows, 1, 1)), 0, 16)


def turned(images: np.ndarray, degrees: float) -> np.ndarray:
    return np.clip(ndimage.rotate(images, degrees, axes=(1, 2), reshape=False, order=1), 0, 16)


def noisy(images: np.ndarray, deviation: float) -> np.ndarray:
    return np.clip(images + np.random.default_rng(9).normal(0, deviation, images.shape), 0, 16)


@pytest.fixture(scope="module")
def project() -> Project:
    return Project(
        name="scans",
        owner="ops@example.com",
        columns=(SCAN,),
        target=Binary("ill", positive="ill"),
        time="time",
        row_id="row_id",
        torch=lambda inputs, params: None,
        watch=Watch(min_rows=50),
    )


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return scans(strokes(700, seed=1)).assign(probability=np.linspace(0.1, 0.9, 700, dtype="float32"))


@pytest.mark.parametrize(
    ("worsen", "named"),
    [
        (lambda images: turned(images, 30), ""),
        (lambda images: noisy(images, 3.0), "rest"),
        (lambda images: images * 0.6, ""),
        (lambda images: images[:, ::-1, ::-1].transpose(0, 2, 1), ""),
    ],
    ids=["turned by 30 degrees", "noisy", "darker", "mirrored"],
)
def test_a_changed_window_of_a_hundred_images_is_found(project, reference, worsen, named):
    window = scans(worsen(strokes(100, seed=2)))

    (drift,) = column_drift(project, window, reference)

    assert (drift.column, drift.drifted) == ("scan", True)
    assert drift.distance > 1.5 * drift.threshold
    assert drift.method.startswith("embedding, ")
    assert named in drift.method


@pytest.mark.parametrize(("rows", "reference_rows", "side"), [(100, 700, 8), (400, 300, 8), (60, 60, 40)])
def test_plain_windows_are_flagged_no_more_often_than_promised(rows, reference_rows, side):
    column = dataclasses.replace(SCAN, shape=(side, side, 1))
    trials, promised = 50, 0.05

    alarms = 0
    for trial in range(trials):
        usual = scans(strokes(reference_rows, seed=1000 + trial, side=side))
        drift = image_drift(column, scans(strokes(rows, seed=5000 + trial, side=side)), usual, promised, seed=trial)
        assert drift is not None
        alarms += drift.drifted

    assert alarms <= 7  # at a rate of 5%, 50 windows have more in one case of a hundred


def test_every_part_is_below_its_threshold_exactly_when_the_column_is(reference):
    for seed, worsen in ((2, 0.0), (3, 0.0), (4, 2.0)):
        window = scans(noisy(strokes(100, seed=seed), worsen))
        embedded = embed(SCAN, window, reference, seed=0)
        assert embedded is not None
        parts = part_drift(embedded, 0.01, seed=0)
        verdict = image_drift(SCAN, window, reference, 0.01, seed=0)
        assert verdict is not None
        assert verdict.drifted == any(part.drifted for part in parts) == bool(worsen)


def test_the_same_window_is_judged_the_same_again(reference):
    window = scans(strokes(100, seed=2))

    first, second = (image_drift(SCAN, window, reference, 0.01, seed=0) for _ in range(2))

    assert first == second


def test_what_is_learned_comes_from_the_reference_alone(reference):
    usual, odd = (
        embed(SCAN, scans(strokes(100, seed=seed) * shade), reference, seed=0) for seed, shade in ((2, 1), (3, 0))
    )

    assert usual is not None
    assert odd is not None
    pd.testing.assert_frame_equal(usual.before, odd.before)


def test_components_describe_an_image_and_the_rest_is_what_they_leave(reference):
    images = reference["scan"]
    embedding = Embedding.fit(SCAN, images)
    parts = pd.DataFrame(embedding.of(images), columns=list(embedding.parts))

    raw = pixels(images, SCAN).astype("float64") / 16
    np.testing.assert_allclose(parts["brightness"], raw.mean(axis=1))
    np.testing.assert_allclose(parts["contrast"], raw.std(axis=1))
    np.testing.assert_allclose(embedding.components @ embedding.components.T, np.eye(COMPONENTS), atol=1e-9)
    weights = parts.filter(like="component").to_numpy()
    rebuilt = embedding.mean + weights @ embedding.components
    np.testing.assert_allclose(parts["rest"], np.sqrt(((raw - rebuilt) ** 2).mean(axis=1)), atol=1e-9)


def test_edges_of_a_flat_image_are_zero_and_of_a_chessboard_one():
    flat, board = np.full((8, 8), 8.0), 16 * (np.indices((8, 8)).sum(axis=0) % 2)
    embedding = Embedding.fit(SCAN, scans(strokes(30, seed=0))["scan"])

    edges = embedding.of(scans(np.stack([flat, board]))["scan"])[:, embedding.parts.index("edges")]

    np.testing.assert_allclose(edges, [0.0, 1.0])


@pytest.mark.parametrize("shape", [(70, 33, 3), (1, 5, 1), (32, 32, 1)])
def test_images_of_any_size_are_embedded_by_a_grid_of_bounded_size(shape):
    column = Image("scan", shape=shape, high=1)
    images = np.random.default_rng(0).uniform(0, 1, (40, *shape))

    embedding = Embedding.fit(column, scans(images)["scan"])

    assert embedding.mean.size <= GRID * GRID * shape[2]
    assert np.isfinite(embedding.of(scans(images)["scan"])).all()


def test_images_that_are_not_there_are_left_out_and_named_as_missing(project, reference):
    images = strokes(100, seed=2)
    images[:30] = np.nan
    window = scans(images)

    (drift,) = column_drift(project, window, reference)

    assert not drift.drifted
    assert is_there(SCAN, window["scan"]).sum() == 70
    assert [(issue.column, issue.issue, issue.share) for issue in quality(project, window, reference)] == [
        ("scan", "missing", 0.3)
    ]


def test_pixels_out_of_the_contracts_range_are_a_matter_of_quality(project, reference):
    images = strokes(100, seed=2)
    images[:20, 0, 0] = 17

    assert [(issue.issue, issue.share) for issue in quality(project, scans(images), reference)] == [
        ("out of range", 0.2)
    ]


@pytest.mark.parametrize("rows", [0, 5])
def test_too_few_reference_images_and_all_the_same_ones_say_nothing(project, reference, rows):
    window = scans(strokes(100, seed=2))

    assert column_drift(project, window, reference.iloc[:rows]) == ()
    assert column_drift(project, window, scans(np.ones((100, 8, 8)))) == ()


def test_a_window_with_no_image_at_all_has_no_drift_to_measure(project, reference):
    assert column_drift(project, scans(np.full((60, 8, 8), np.nan)), reference) == ()


@pytest.fixture
def make_health(project, reference) -> Callable[[pd.DataFrame], object]:
    def make(rows: pd.DataFrame):
        start, end = datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
        window = Window(project="scans", start=start, end=end, rows=len(rows), labelled=0, versions=("1",))
        return assess_window(project, window, rows, reference, champion_version="1", expected=0.9)

    return make


def test_a_drifted_image_is_a_drifted_window_and_a_report_of_its_parts_says_the_same(project, reference, make_health):
    rows = scans(turned(strokes(100, seed=2), 40)).assign(probability=np.float32(0.5), label=np.nan)
    health = make_health(rows)

    shown, seen, now, before = as_numbers(project, health, rows, reference, seed=0)

    assert (health.is_drifted, health.drifted) == (True, ("scan",))
    assert seen.is_drifted
    assert {column.name for column in shown.inputs} <= set(now.columns)
    assert "scan rest" in seen.drifted
    assert (len(now), len(before)) == (100, 350)
    plain = make_health(scans(strokes(100, seed=3)).assign(probability=np.float32(0.5), label=np.nan))
    assert not plain.is_drifted
