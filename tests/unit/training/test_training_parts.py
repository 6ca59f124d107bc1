"""The small parts of training: parameters, weights, ranks, the order of rows, trainers by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project, Training
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.training import arrays as files
from fullcircle.training.parameters import for_model
from fullcircle.training.preprocessing.tabular import fit
from fullcircle.training.trainers import trainer
from fullcircle.training.training_loop.sampler import row_order


def test_a_framework_s_own_parameters_go_before_the_shared_ones() -> None:
    params = Training(learning_rate=1e-3, extra={"hidden": 64, "keras": {"learning_rate": 2e-3, "hidden": 32}})
    assert for_model(params, "keras") == Training(learning_rate=2e-3, extra={"hidden": 32})
    assert for_model(params, "torch") == Training(learning_rate=1e-3, extra={"hidden": 64})
    assert for_model(for_model(params, "keras"), "keras") == for_model(params, "keras")
    named = Training(extra={"hidden": 64, "deep": {"hidden": 128}, "wide": {"hidden": 8}})
    assert for_model(named, "deep", ("deep", "wide")).extra == {"hidden": 128}


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"epochs": 0}, "training.epochs must be a whole number from 1 to 1000000, got 0"),
        (
            {"extra": {"torch": {"batch_size": 1}}},
            r"training.extra\['torch'\]\['batch_size'\] must be a whole .*, got 1",
        ),
        ({"learning_rate": float("nan")}, "training.learning_rate must be a number from 1e-30 to 1e.30, got nan"),
        ({"extra": {"torch": 3}}, "training.extra.'torch'. must be a mapping of parameters, got 3"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        for_model(Training(**params), "torch")


@given(rows=st.integers(2, 200), batch=st.integers(2, 50), epoch=st.integers(1, 9))
def test_the_order_of_rows_is_a_shuffle_that_leaves_no_batch_of_one(rows: int, batch: int, epoch: int) -> None:
    order = row_order(13, epoch, rows, batch)
    assert len(order) % batch != 1
    assert len(set(order.tolist())) == len(order) >= rows - 1
    assert order.tolist() == row_order(13, epoch, rows, batch).tolist()


def test_arrays_are_float32_features_and_labels_on_disk(project: Project, frame: pd.DataFrame, tmp_path: Path) -> None:
    preprocessor = fit(project, frame.iloc[:400])
    frames = SplitFrames(train=frame[:400], validation=frame[400:500], test=frame[500:])
    found = files.store(project, preprocessor, frames, tmp_path / "arrays")
    assert found.x_train.tobytes() == preprocessor.transform(frame[:400]).tobytes()
    assert found.y_validation.tolist() == frame["broke"][400:500].tolist()
    assert {found.x_train.dtype, found.y_train.dtype, found.x_validation.dtype} == {np.dtype(np.float32)}
    assert found.ids_train is not None
    assert found.ids_train.tolist() == frame[project.row_id][:400].astype(str).tolist()
    assert isinstance(found.x_train, np.memmap)
    again = files.store(project, preprocessor, frames, tmp_path / "arrays")
    assert again.digest == found.digest
    other = SplitFrames(train=frame[1:401], validation=frame[400:500], test=frame[500:])
    assert files.store(project, preprocessor, other, tmp_path / "other").digest != found.digest


def test_one_changed_value_changes_the_digest_of_its_array_alone(
    project: Project, frame: pd.DataFrame, tmp_path: Path
) -> None:
    changed = frame.copy()
    changed.loc[450, "pressure"] += 1
    preprocessor, found = fit(project, frame.iloc[:400]), []
    for name, rows in (("one", frame), ("two", changed)):
        frames = SplitFrames(train=rows[:400], validation=rows[400:500], test=rows[500:])
        files.store(project, preprocessor, frames, tmp_path / name)
        found.append(files.digests(tmp_path / name))
    one, two = found
    assert set(one) == {"preprocessing", "x_train", "y_train", "x_validation", "y_validation"}
    assert {name for name in one if one[name] != two[name]} == {"x_validation"}
    assert files.digests(tmp_path / "nothing") == {}


def test_arrays_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"the arrays in .* cannot be read"):
        files.load(tmp_path)


def test_an_unknown_framework_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no trainer for 'jax'; there are baseline, torch, keras"):
        trainer("jax")


@pytest.mark.parametrize(
    ("framework", "package", "extra"), [("torch", "torch", "torch"), ("keras", "keras", "tensorflow")]
)
def test_a_framework_that_is_not_installed_names_its_extra(
    framework: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"fullcircle.training.on_{framework}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself does to say "not there"
    with pytest.raises(UsageError, match=rf'pip install "fullcircle\[{extra}\]"'):
        trainer(framework)


def test_importing_the_rooms_imports_nothing_heavy() -> None:
    rooms = (
        "training.trainers training.preprocessing.tabular training.arrays "
        "export.onnx_graph export.candidate explain.plots"
    )
    heavy = "torch tensorflow keras sklearn pandas onnx onnxruntime skl2onnx shap matplotlib scipy"
    code = f"""
import importlib, sys
for room in {rooms!r}.split():
    importlib.import_module("fullcircle." + room)
print([name for name in {heavy!r}.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
