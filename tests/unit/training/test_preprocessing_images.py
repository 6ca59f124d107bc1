"""Images to features: scaled by the training rows alone, the same in numpy and in the graph, to the last bit."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Binary, Image, Project, Training
from fullcircle.core.records.training import Arrays
from fullcircle.core.row_tensors import tensors
from fullcircle.export.onnx_graph import export
from fullcircle.graph.onnx_session import Graph
from fullcircle.training import trainers
from fullcircle.training.preprocessing import images
from fullcircle.training.preprocessing.tabular import fit

PHOTO = Image("photo", shape=(3, 4, 2))


@pytest.fixture(scope="module")
def photos() -> Project:
    return Project(
        name="photos",
        owner="tests@example.com",
        columns=(PHOTO,),
        target=Binary("cat", "shows a cat"),
        time="at",
        row_id="photo_id",
        torch=lambda inputs, params: None,
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(6)
    images = random.uniform(0, 255, (500, *PHOTO.shape)) * [1.0, 0.1]
    cat = (images[:, 1, 1, 0] + random.normal(0, 40, 500) > 128).astype(int)
    return pd.DataFrame({"photo": list(images.astype("float32").reshape(500, -1)), "cat": cat})


def test_each_channel_has_zero_mean_and_unit_variance_over_the_training_rows(photos, frame):
    features = fit(photos, frame).transform(frame)

    assert (features.shape, features.dtype) == ((500, 3, 4, 2), np.float32)
    np.testing.assert_allclose(features.mean(axis=(0, 1, 2), dtype="float64"), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=(0, 1, 2), dtype="float64"), 1, atol=1e-5)


def test_what_was_fitted_has_a_digest(photos, frame):
    assert fit(photos, frame).digest == fit(photos, frame).digest
    assert fit(photos, frame).digest != fit(photos, frame.iloc[1:]).digest


def test_scales_do_not_depend_on_how_many_images_are_summed_up_at_a_time(photos, frame, monkeypatch):
    whole = fit(photos, frame)
    monkeypatch.setattr(images, "FIT_ROWS", 7)

    parts = fit(photos, frame)

    np.testing.assert_allclose(whole.mean, parts.mean, rtol=1e-6)
    np.testing.assert_allclose(whole.inverse, parts.inverse, rtol=1e-6)


def test_the_graph_computes_the_same_bits(photos, frame, tmp_path):
    preprocessor = fit(photos, frame.iloc[:300])
    preprocessor.save_onnx(tmp_path / "preprocessing.onnx")

    session = onnxruntime.InferenceSession(str(tmp_path / "preprocessing.onnx"))
    (answer,) = session.run(["features"], tensors(frame, [PHOTO]))

    np.testing.assert_array_equal(preprocessor.transform(frame), answer)


def test_features_are_named_by_their_place_in_the_order_of_the_values(photos, frame):
    names = fit(photos, frame).features

    assert (names[0], names[1], names[2], names[-1]) == ("pixel[0,0,0]", "pixel[0,0,1]", "pixel[0,1,0]", "pixel[2,3,1]")
    assert len(names) == PHOTO.values


def test_a_constant_channel_becomes_zeros_and_not_infinite(photos, frame):
    dark = frame.assign(photo=[np.full(24, 7.0, "float32")] * len(frame))

    assert (fit(photos, dark).transform(dark) == 0).all()


def test_no_rows_and_pixels_that_are_not_finite_are_said_in_one_line(photos, frame):
    broken = frame.iloc[:3].assign(photo=[*frame["photo"].iloc[:2], np.full(24, np.inf, "float32")])

    with pytest.raises(DataUnavailable, match="row 2 of the image 'photo' has pixels that are not finite"):
        fit(photos, broken)
    with pytest.raises(DataUnavailable, match="no training rows"):
        fit(photos, frame.iloc[:0])
    assert fit(photos, frame).transform(frame.iloc[:0]).shape == (0, 3, 4, 2)


def test_the_baseline_learns_images_and_its_graph_agrees_from_the_raw_pixel_on(photos, frame, tmp_path):
    preprocessor = fit(photos, frame.iloc[:400])
    train, held = frame.iloc[:400], frame.iloc[400:]
    rows = Arrays(
        x_train=preprocessor.transform(train),
        y_train=train["cat"].to_numpy("float32"),
        x_validation=preprocessor.transform(held),
        y_validation=held["cat"].to_numpy("float32"),
    )

    fitted = trainers.fit("baseline", None, rows, Training(), task=photos.target, folder=tmp_path)
    path = export(preprocessor, fitted, tmp_path / "graph.onnx", answers=photos.target.answers)

    assert fitted.history[-1].validation["roc_auc"] > 0.8
    graph = Graph.load(path)
    assert graph.inputs == (("photo", "float32[3,4,2]"),)
    np.testing.assert_allclose(fitted.answers(rows.x_validation), graph(held), atol=1e-6)
    (declared,) = onnx.load(path).graph.input
    dims = [each.dim_param or each.dim_value for each in declared.type.tensor_type.shape.dim]
    assert dims == ["rows", 3, 4, 2]
