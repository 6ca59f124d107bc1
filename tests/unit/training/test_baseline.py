"""The baseline is the optimum of its loss, however many rows and features there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fullcircle.core.project import Binary, Training
from fullcircle.core.records.training import Arrays, Fitted
from fullcircle.training import trainers
from fullcircle.training.on_sklearn.baseline import BaselineFitted
from fullcircle.training.on_sklearn.estimators import EXACT_FEATURES, PENALTY

TASK = Binary("late", positive="came late")


def _arrays(rows: int, shape: tuple[int, ...]) -> Arrays:
    random = np.random.default_rng(5)
    x = random.normal(size=(rows + 200, *shape)).astype(np.float32)
    y = (x.reshape(len(x), -1)[:, 0] + random.normal(size=len(x)) > 1.0).astype(np.float32)
    return Arrays(x_train=x[:rows], y_train=y[:rows], x_validation=x[rows:], y_validation=y[rows:])


def _fit(arrays: Arrays, folder: Path, *, balanced: bool = True) -> BaselineFitted:
    params = Training(class_weights=balanced)
    fitted: Fitted = trainers.fit("baseline", None, arrays, params, task=TASK, folder=folder)
    assert isinstance(fitted, BaselineFitted)
    return fitted


def _slope(coefficients: np.ndarray, arrays: Arrays, *, balanced: bool) -> np.ndarray:
    """Gradient of the mean weighted log loss with its penalty, float64 (features + 1,)."""
    chosen = TASK.weighting(arrays.y_train, balanced=balanced)
    (offset,) = TASK.link(arrays.y_train, chosen).offset
    x = arrays.x_train.reshape(len(arrays.x_train), -1).astype(np.float64)
    inner, intercept = coefficients[:-1].astype(np.float64), float(coefficients[-1]) - offset
    residual = chosen.rows(arrays.y_train) * (1 / (1 + np.exp(-(x @ inner + intercept))) - arrays.y_train)
    return np.append(residual @ x + PENALTY * inner, residual.sum()) / len(x)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize(
    ("shape", "largest"), [((7,), 1e-5), ((4, 3, 2), 1e-5), ((EXACT_FEATURES + 1,), 1e-3)], ids=["few", "image", "many"]
)
def test_its_answers_without_the_class_weights_are_the_optimum(
    shape: tuple[int, ...], largest: float, balanced: bool, tmp_path: Path
) -> None:
    arrays = _arrays(800, shape)
    fitted = _fit(arrays, tmp_path, balanced=balanced)
    assert np.abs(_slope(fitted.coefficients[0], arrays, balanced=balanced)).max() < largest


@pytest.mark.parametrize("shape", [(7,), (4, 3, 2), (EXACT_FEATURES + 1,)], ids=["few", "image", "many"])
def test_its_graph_answers_what_it_answers(shape: tuple[int, ...], tmp_path: Path) -> None:
    arrays = _arrays(300, shape)
    fitted = _fit(arrays, tmp_path)
    fitted.save_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (answer,) = session.run(["answers"], {"features": arrays.x_validation})
    np.testing.assert_allclose(answer[:, 0], fitted.answers(arrays.x_validation), atol=1e-6)


def test_its_training_loss_is_that_of_its_coefficients(tmp_path: Path) -> None:
    arrays = _arrays(300, (7,))
    fitted = _fit(arrays, tmp_path, balanced=False)
    p = fitted.answers(arrays.x_train).astype(np.float64)
    y = arrays.y_train
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))
    penalty = 0.5 * PENALTY * float(np.square(fitted.coefficients[0, :-1].astype(np.float64)).sum()) / len(y)
    assert fitted.history[0].train_loss == pytest.approx(loss + penalty, abs=1e-6)
