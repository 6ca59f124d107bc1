"""Every family of models learns every kind of problem: better than a constant, twice alike, and its graph agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Training
from fullcircle.core.records.training import Arrays, Fitted
from fullcircle.core.tasks import Binary, Costs, Multiclass, Multilabel, Regression, Task
from fullcircle.training.trainers import FAMILIES, fit

FEATURES, ROWS, HELD = 5, 700, 300
PARAMS = Training(epochs=12, batch_size=50, learning_rate=0.02, patience=12, seed=3)
TASKS: dict[str, Task] = {
    "decision": Binary("y", "yes", threshold=Costs(false_negative=3.0)),
    "classes": Multiclass("y", ("calm", "storm", "hurricane", "none")),
    "labels": Multilabel("y", ("red", "green", "blue")),
    "squared": Regression("y"),
    "absolute": Regression("y", loss="absolute"),
    "huber": Regression("y", loss="huber"),
    "poisson": Regression("y", loss="poisson"),
    "quantile": Regression("y", loss="quantile"),
    "log1p": Regression("y", transform="log1p", loss="quantile", coverage=0.6),
}


def build_torch(outputs: int) -> Any:
    def build(inputs: int, params: Any) -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs))

    return build


def build_keras(outputs: int) -> Any:
    def build(inputs: int, params: Any) -> Any:
        import keras

        layers = keras.layers
        return keras.Sequential([keras.Input((inputs,)), layers.Dense(16, activation="tanh"), layers.Dense(outputs)])

    return build


BUILD = {"baseline": lambda outputs: None, "torch": build_torch, "keras": build_keras}


def arrays_of(task: Task, rows: int = ROWS + HELD) -> Arrays:
    """Rows of which the first features tell the target in part; counts and classes are of the usual sizes."""
    random = np.random.default_rng(7)
    x = random.normal(size=(rows, FEATURES)).astype(np.float32)
    drawn = {
        "binary": lambda: random.random(rows) < 1 / (1 + np.exp(1 - 2 * x[:, 0])),
        "multiclass": lambda: (x[:, :4] * 2 + random.gumbel(size=(rows, 4))).argmax(axis=1),
        "multilabel": lambda: x[:, :3] + random.normal(size=(rows, 3)) > 0.5,
        "regression": lambda: random.poisson(np.exp(3 + 0.5 * x[:, 0] - 0.3 * x[:, 1])),
    }
    y = drawn[task.kind]().astype(np.float32)
    return Arrays(x_train=x[:ROWS], y_train=y[:ROWS], x_validation=x[ROWS:], y_validation=y[ROWS:])


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def arrays(task: Task) -> Arrays:
    return arrays_of(task)


@pytest.fixture(scope="module")
def fitted(task: Task, family: str, arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitting(task, family, arrays, tmp_path_factory.mktemp("fit"))


def fitting(task: Task, family: str, arrays: Arrays, folder: Path, outputs: int | None = None) -> Fitted:
    build = BUILD[family](outputs or task.outputs)
    return fit(family, build, arrays, PARAMS, task=task, folder=folder)


def test_it_answers_as_the_task_says_and_better_than_a_constant(task: Task, fitted: Fitted, arrays: Arrays) -> None:
    y, answers = np.asarray(arrays.y_validation), fitted.answers(arrays.x_validation)
    assert task.fault(answers, HELD) is None
    main = task.main
    mean = np.quantile(answers, 0.5, axis=0, keepdims=True).repeat(HELD, axis=0).astype(np.float32)
    gain = main.value(y, answers) - main.value(y, mean)
    assert (gain if main.greater_is_better else -gain) > 0.05
    assert fitted.history[fitted.best_epoch - 1].validation[task.primary] == pytest.approx(
        main.value(y, answers), rel=1e-3
    )
    assert fitted.answers(arrays.x_validation[:0]).shape == task.answers.shape(0)


def test_its_graph_agrees_and_takes_any_number_of_rows(
    task: Task, fitted: Fitted, arrays: Arrays, tmp_path: Path
) -> None:
    fitted.save_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for rows in (HELD, 1):
        (answers,) = session.run(["answers"], {"features": arrays.x_validation[:rows]})
        assert answers.shape == (rows, len(task.answers.numbers))
        native = fitted.answers(arrays.x_validation[:rows])
        np.testing.assert_allclose(answers, native.reshape(answers.shape), rtol=2e-5, atol=2e-6)


def test_the_same_seed_and_rows_give_the_same_answers(
    task: Task, family: str, fitted: Fitted, arrays: Arrays, tmp_path: Path
) -> None:
    again = fitting(task, family, arrays, tmp_path)
    assert again.answers(arrays.x_validation).tobytes() == fitted.answers(arrays.x_validation).tobytes()
    assert again.history == tuple(
        type(each)(**{**vars(each), "seconds": other.seconds})
        for each, other in zip(fitted.history, again.history, strict=True)
    )


@pytest.mark.parametrize("family", ["torch", "keras"])
@pytest.mark.parametrize("name", ["classes", "labels", "quantile"])
def test_a_model_of_another_width_is_refused_saying_which_it_must_have(family: str, name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    with pytest.raises(UsageError, match=rf"\(rows, {task.outputs}\)") as caught:
        fitting(task, family, arrays_of(task), tmp_path, outputs=task.outputs + 1)
    assert f"gave (2, {task.outputs + 1}) instead of (2, {task.outputs})" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_interval_is_in_order_and_holds_about_what_it_promises(family: str, tmp_path: Path) -> None:
    task = Regression("y", loss="quantile", coverage=0.8)
    arrays = arrays_of(task)
    middle, low, high = fitting(task, family, arrays, tmp_path).answers(arrays.x_validation).T
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert 0.65 < np.mean((low <= arrays.y_validation) & (arrays.y_validation <= high)) < 0.93


def test_costs_move_the_decision_of_the_trained_model_and_its_probability_stays(family: str, tmp_path: Path) -> None:
    plain, dear = Binary("y", "yes"), Binary("y", "yes", threshold=Costs(false_negative=20.0))
    arrays = arrays_of(plain)
    (tmp_path / "plain").mkdir()
    (tmp_path / "dear").mkdir()
    probability = fitting(plain, family, arrays, tmp_path / "plain").answers(arrays.x_validation)
    both = fitting(dear, family, arrays, tmp_path / "dear").answers(arrays.x_validation)
    np.testing.assert_array_equal(both[:, 0], probability)
    assert both[:, 1].mean() > (probability >= 0.5).mean() + 0.1
    assert set(np.unique(both[:, 1])) <= {0.0, 1.0}
