"""Preprocessing: what the features are, and that the graph computes the very same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, ProjectInvalid
from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.row_tensors import tensors
from fullcircle.training.preprocessing.tabular import MAX_CATEGORIES, TabularPreprocessor, fit


@pytest.fixture(scope="module")
def fitted(project: Project, frame: pd.DataFrame) -> TabularPreprocessor:
    return fit(project, frame)


@pytest.fixture(scope="module")
def session(fitted: TabularPreprocessor, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("graph") / "preprocessing.onnx"
    fitted.save_onnx(path)
    return onnxruntime.InferenceSession(path)


def columns_alone(*columns: Number | Category) -> Project:
    return Project(
        name="p", owner="o", columns=columns, target=Binary("y", "y"), time="t", row_id="i", torch=lambda n, p: None
    )


def test_features_are_named_after_their_columns(fitted: TabularPreprocessor) -> None:
    assert fitted.features == (
        "weight",
        "pressure",
        "weight missing",
        "maker=bolt, inc",
        "maker=x",
        "maker=Ä&Co",
        "door=",
        "door=left",
        "door=right",
    )


def test_what_was_fitted_has_a_digest(fitted: TabularPreprocessor, project: Project, frame: pd.DataFrame) -> None:
    heavier = frame.assign(weight=frame["weight"] + 1)
    renamed = frame.assign(maker=frame["maker"].replace("x", "y"))
    assert fit(project, frame).digest == fitted.digest
    assert len({fitted.digest, fit(project, heavier).digest, fit(project, renamed).digest}) == 3
    words = columns_alone(Category("maker"))
    assert fit(words, frame).digest == fit(words, heavier).digest


def test_numbers_are_standardised_and_missing_ones_flagged(fitted: TabularPreprocessor, frame: pd.DataFrame) -> None:
    x = fitted.transform(frame)
    assert x.dtype == np.float32
    assert x.shape == (len(frame), len(fitted.features))
    np.testing.assert_allclose(x[:, :2].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x[:, :2].std(axis=0), 1, atol=1e-4)
    assert x[:, 2].tolist() == frame["weight"].isna().astype(float).tolist()


def test_an_unknown_or_rare_category_is_none_of_the_known(fitted: TabularPreprocessor, frame: pd.DataFrame) -> None:
    row = frame.iloc[[10]].assign(maker="never seen")
    assert fitted.transform(row)[0, 3:6].tolist() == [0, 0, 0]
    assert fitted.transform(frame.iloc[[0]])[0, 3:6].tolist() == [0, 0, 0]


def test_a_column_known_only_after_the_outcome_is_never_read(project: Project, frame: pd.DataFrame) -> None:
    without = frame.drop(columns=["broke_after"])
    assert fit(project, without).features == fit(project, frame).features
    assert not [name for name in fit(project, frame).features if "broke" in name]


def test_statistics_come_from_the_fitted_rows_alone(project: Project, frame: pd.DataFrame) -> None:
    early = fit(project, frame.iloc[:300])
    before = early.transform(frame.iloc[:300])
    early.transform(frame.iloc[300:].assign(weight=1e6))
    assert before.tobytes() == early.transform(frame.iloc[:300]).tobytes()


@given(data=st.data())
def test_the_graph_computes_the_same_features_for_any_row(
    data: st.DataObject, project: Project, fitted: TabularPreprocessor, session: onnxruntime.InferenceSession
) -> None:
    number = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
    text = st.sampled_from(["Ä&Co", "x", "left", "", "rare"]) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=8
    )
    row = {"weight": number, "pressure": number, "maker": text, "door": text | st.none()}
    rows = pd.DataFrame(data.draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=5)))
    (graph,) = session.run(["features"], tensors(rows, project.inputs))
    np.testing.assert_allclose(graph, fitted.transform(rows), rtol=1e-6, atol=1e-6)


def test_a_number_that_is_never_there_in_training_stays_a_feature(tmp_path: Path) -> None:
    project = columns_alone(Number("a"), Number("b", nullable=True))
    frame = pd.DataFrame({"a": np.arange(50.0), "b": np.nan})
    fitted = fit(project, frame)
    assert fitted.features == ("a", "b")
    later = pd.DataFrame({"a": [3.0, np.nan], "b": [np.nan, 2.0]})
    fitted.save_onnx(tmp_path / "p.onnx")
    (graph,) = onnxruntime.InferenceSession(tmp_path / "p.onnx").run(None, tensors(later, project.inputs))
    np.testing.assert_allclose(graph, fitted.transform(later), atol=1e-6)
    assert np.isfinite(graph).all()


@pytest.mark.parametrize(
    "columns", [(Number("a"),), (Number("a", nullable=True),), (Category("c"),), (Category("c"), Category("d"))]
)
def test_any_mix_of_columns_can_be_exported(columns: tuple[Number | Category, ...], tmp_path: Path) -> None:
    project = columns_alone(*columns)
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0] * 20, "c": ["u", "v", ""] * 20, "d": ["k"] * 60})
    fitted = fit(project, frame)
    fitted.save_onnx(tmp_path / "p.onnx")
    (graph,) = onnxruntime.InferenceSession(tmp_path / "p.onnx").run(None, tensors(frame, project.inputs))
    np.testing.assert_allclose(graph, fitted.transform(frame), atol=1e-6)


def test_a_column_of_ids_does_not_swell_the_model() -> None:
    values = [f"id{i}" for i in range(MAX_CATEGORIES + 50) for _ in range(25)]
    fitted = fit(columns_alone(Category("c")), pd.DataFrame({"c": values}))
    assert len(fitted.features) == MAX_CATEGORIES


def test_no_rows_give_no_features_and_no_fit(
    project: Project, fitted: TabularPreprocessor, frame: pd.DataFrame
) -> None:
    assert fitted.transform(frame.iloc[:0]).shape == (0, len(fitted.features))
    with pytest.raises(DataUnavailable, match="'boxes': no training rows"):
        fit(project, frame.iloc[:0])


@pytest.mark.parametrize("name", ["features", "probability"])
def test_a_column_with_one_of_the_graph_s_own_names_is_refused(name: str) -> None:
    with pytest.raises(ProjectInvalid, match=name):
        fit(columns_alone(Number(name)), pd.DataFrame({name: [1.0, 2.0]}))


def test_an_infinite_number_is_named(project: Project, fitted: TabularPreprocessor, frame: pd.DataFrame) -> None:
    endless = frame.assign(pressure=np.inf)
    with pytest.raises(DataUnavailable, match="infinite values in pressure"):
        fitted.transform(endless)
    with pytest.raises(DataUnavailable, match="infinite values in pressure"):
        fit(project, endless)
