"""The one graph: raw rows in, the native model's probability out, in one file that is whole or absent."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, ExportFailed, HomeUnwritable
from fullcircle.core.project import Binary, Category, Number, Project, Training
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.core.records.training import Fitted, Preprocessor
from fullcircle.core.system.files import sha256_of
from fullcircle.export.candidate import measure
from fullcircle.export.onnx_graph import export
from fullcircle.graph.onnx_session import Graph

ANSWERS = Binary("broke", "broke within a week").answers


@dataclasses.dataclass(frozen=True)
class Made:
    """A project, its rows, and a model that was trained on them and exported."""

    project: Project
    frame: pd.DataFrame
    preprocessor: Preprocessor
    fitted: Fitted
    path: Path
    graph: Graph


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    from fullcircle.training import trainers
    from fullcircle.training.arrays import store
    from fullcircle.training.preprocessing.tabular import fit

    project = Project(
        name="boxes",
        owner="tests@example.com",
        columns=(Number("heavy weight", nullable=True), Category("maker"), Number("variable")),
        target=Binary("broke", "broke within a week"),
        time="at",
        row_id="box",
        torch=lambda inputs, params: None,
    )
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "heavy weight": np.where(random.random(400) < 0.1, np.nan, random.normal(50, 9, 400)),
            "maker": random.choice(["a", "b", ""], 400),
            "variable": random.normal(size=400),  # a name that the converter gives to its own tensors
            "broke": random.integers(0, 2, 400),
            "box": [f"b{i}" for i in range(400)],
        }
    )
    folder = tmp_path_factory.mktemp("made")
    preprocessor = fit(project, frame)
    frames = SplitFrames(train=frame[:300], validation=frame[300:], test=frame[300:])
    rows = store(project, preprocessor, frames, folder / "arrays")
    fitted = trainers.fit("baseline", None, rows, Training(), task=project.target, folder=folder)
    path = export(preprocessor, fitted, folder / "new" / "graph.onnx", answers=ANSWERS)
    return Made(project, frame, preprocessor, fitted, path, Graph.load(path))


def test_inputs_are_the_raw_columns_and_the_output_is_the_probability(made: Made) -> None:
    graph = Graph.load(made.path)
    assert graph.inputs == (("heavy weight", "float32"), ("maker", "string"), ("variable", "float32"))
    (output,) = onnx.load(made.path).graph.output
    assert output.name == "probability"
    shape = [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim]
    assert shape == ["rows", 1]


def test_the_file_says_what_made_it(made: Made) -> None:
    metadata = Graph.load(made.path).metadata
    assert metadata["framework"] == "baseline"
    assert metadata["fullcircle"]


def test_it_is_one_file_and_nothing_is_left_beside_it(made: Made) -> None:
    assert [path.name for path in made.path.parent.iterdir()] == ["graph.onnx"]
    onnx.checker.check_model(str(made.path), full_check=True)


def test_the_same_model_is_exported_to_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = export(made.preprocessor, made.fitted, tmp_path / "graph.onnx", answers=ANSWERS)
    assert sha256_of(again) == sha256_of(made.path)


@given(data=st.data())
def test_graph_and_native_model_agree_on_any_row(data: st.DataObject, made: Made) -> None:
    number = st.floats(-1e4, 1e4, width=32) | st.just(float("nan"))
    text = st.sampled_from(["a", "b", ""]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.none()
    row = {"heavy weight": number, "maker": text, "variable": number}
    rows = pd.DataFrame(data.draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=5)))
    native = made.fitted.answers(made.preprocessor.transform(rows))
    np.testing.assert_allclose(made.graph(rows), native, atol=1e-5)


def test_a_candidate_is_measured(made: Made) -> None:
    candidate = measure(made.project, made.path, made.preprocessor, made.fitted, made.frame)
    assert candidate.framework == "baseline"
    assert candidate.digest == sha256_of(made.path)
    assert candidate.parity < 1e-5
    assert candidate.size_mb == made.path.stat().st_size / 1e6
    assert candidate.p99_ms > 0


def test_parity_is_measured_against_the_given_answers(made: Made) -> None:
    native = made.fitted.answers(made.preprocessor.transform(made.frame))
    off = native.copy()
    off[7] += 0.25
    found = measure(made.project, made.path, made.preprocessor, made.fitted, made.frame, reference=off)
    assert found.parity == pytest.approx(0.25, abs=1e-4)


def test_an_answer_that_is_not_finite_has_no_parity() -> None:
    fine, broken = np.array([0.5, 0.5], dtype=np.float32), np.array([0.5, np.nan], dtype=np.float32)
    assert ANSWERS.largest_difference(fine, fine) == 0
    assert math.isinf(ANSWERS.largest_difference(broken, fine))
    assert math.isinf(ANSWERS.largest_difference(broken, broken))


def test_no_rows_cannot_measure(made: Made) -> None:
    with pytest.raises(DataUnavailable, match="no rows to measure"):
        measure(made.project, made.path, made.preprocessor, made.fitted, made.frame.iloc[:0])


class Broken:
    """A model whose graph is not one."""

    framework = "torch"
    history = ()
    best_epoch = 1

    def probability(self, features: np.ndarray) -> np.ndarray:
        return features[:, 0]

    def save_onnx(self, path: Path) -> None:
        path.write_bytes(b"no graph")


def test_parts_that_do_not_fit_leave_no_file(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="the torch model and its preprocessing cannot be one graph"):
        export(made.preprocessor, Broken(), tmp_path / "graph.onnx", answers=ANSWERS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_in_one_line(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeUnwritable, match="cannot write to"):
        export(made.preprocessor, made.fitted, tmp_path / "file" / "graph.onnx", answers=ANSWERS)
