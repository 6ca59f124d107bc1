"""What every Trainer keeps, whichever framework is behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fullcircle.core.errors import TrainingFailed, UsageError
from fullcircle.core.project import ModelFunction, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, Fitted, Trainer
from fullcircle.training.trainers import trainer
from fullcircle.training.weighting import log_loss, weights

FEATURES = 6
PARAMS = Training(epochs=4, batch_size=64, learning_rate=5e-3, patience=4, seed=7)


def build_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    """With dropout and batch normalisation: both have state that a resumed fit must have again."""
    from torch import nn

    return nn.Sequential(nn.Linear(inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))


def build_keras(inputs: int, params: Mapping[str, Any]) -> Any:
    """The same layers in Keras."""
    import keras
    from keras import layers

    hidden = [layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(1)])


BUILD: dict[str, ModelFunction] = {"baseline": build_torch, "torch": build_torch, "keras": build_keras}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One implementation under test."""

    name: str
    trainer: Trainer
    build: ModelFunction

    def fit(
        self,
        arrays: Arrays,
        folder: Path,
        params: Training = PARAMS,
        on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    ) -> Fitted:
        return self.trainer.fit(self.build, arrays, params, checkpoints=folder, on_epoch=on_epoch)


@pytest.fixture(scope="module", params=["baseline", "torch", "keras"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param, trainer(request.param), BUILD[request.param])


def make_arrays(seed: int = 0, rows: int = 513) -> Arrays:
    """A learnable problem with about one positive in five; 513 rows leave a last batch of one."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows + 300, FEATURES)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(1.5 * x[:, 0] - x[:, 1] - 1.8)))
    y = (random.random(len(x)) < chance).astype(np.float32)
    return Arrays(x_train=x[:rows], y_train=y[:rows], x_validation=x[rows:], y_validation=y[rows:])


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return make_arrays()


@pytest.fixture(scope="module")
def fitted(kind: Kind, arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return kind.fit(arrays, tmp_path_factory.mktemp(kind.name))


def test_the_same_seed_and_arrays_give_the_same_weights(
    kind: Kind, fitted: Fitted, arrays: Arrays, tmp_path: Path
) -> None:
    again = kind.fit(arrays, tmp_path)
    assert fitted.probability(arrays.x_validation).tobytes() == again.probability(arrays.x_validation).tobytes()
    assert [e.train_loss for e in fitted.history] == [e.train_loss for e in again.history]


def test_another_seed_gives_other_weights(kind: Kind, fitted: Fitted, arrays: Arrays, tmp_path: Path) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression has one solution, whatever the seed")
    other = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, seed=8))
    assert not np.array_equal(fitted.probability(arrays.x_validation), other.probability(arrays.x_validation))


def test_it_learns(fitted: Fitted) -> None:
    assert fitted.history[fitted.best_epoch - 1].validation_auc > 0.75


def test_an_interrupted_fit_goes_on_from_its_checkpoint_to_the_very_same_model(
    kind: Kind, fitted: Fitted, arrays: Arrays, tmp_path: Path
) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression is solved in one go, in seconds")

    def stop(epoch: EpochMetrics) -> None:
        if epoch.epoch == min(2, len(fitted.history)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind.fit(arrays, tmp_path, on_epoch=stop)
    heard: list[EpochMetrics] = []
    resumed = kind.fit(arrays, tmp_path, on_epoch=heard.append)
    assert tuple(heard) == resumed.history  # the restored epochs too, each once
    assert [e.validation_loss for e in fitted.history] == [e.validation_loss for e in resumed.history]
    assert fitted.probability(arrays.x_validation).tobytes() == resumed.probability(arrays.x_validation).tobytes()


def test_a_fit_that_was_done_is_not_done_again(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression is solved in one go, in seconds")
    first, second = kind.fit(arrays, tmp_path), kind.fit(arrays, tmp_path)
    assert first.history == second.history  # the seconds of each epoch too: nothing was trained
    assert first.probability(arrays.x_validation).tobytes() == second.probability(arrays.x_validation).tobytes()


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_checkpoint_of_other_rows_is_refused(framework: str, arrays: Arrays, tmp_path: Path) -> None:
    kind = Kind(framework, trainer(framework), BUILD[framework])
    short = dataclasses.replace(PARAMS, epochs=1)
    kind.fit(make_arrays(seed=1), tmp_path, short)
    with pytest.raises(UsageError, match=r"step-\d{10} belongs to another training \(data '"):
        kind.fit(arrays, tmp_path, short)


def test_the_best_epoch_is_what_answers(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    wild = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, learning_rate=0.2, epochs=6, patience=6))
    best = min(wild.history, key=lambda e: e.validation_loss)
    assert best.epoch == wild.best_epoch
    chosen = weights(arrays.y_train, balanced=True)
    p = wild.probability(arrays.x_validation).astype(np.float64)
    logits = (np.log(p) - np.log1p(-p) + chosen.shift).astype(np.float32)
    loss = log_loss(logits, arrays.y_validation, chosen.rows(arrays.y_validation))
    assert loss == pytest.approx(best.validation_loss, abs=1e-4)


def test_it_stops_when_patience_epochs_brought_nothing(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    stopped = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, learning_rate=0.5, epochs=40, patience=2))
    assert len(stopped.history) < 40
    if kind.name != "baseline":
        assert len(stopped.history) == stopped.best_epoch + 2


def test_class_weights_leave_honest_probabilities(fitted: Fitted, arrays: Arrays) -> None:
    assert 0.15 < arrays.y_train.mean() < 0.3
    assert fitted.probability(arrays.x_train).mean() == pytest.approx(arrays.y_train.mean(), abs=0.06)


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_the_graph_of_the_model_agrees_with_it(fitted: Fitted, arrays: Arrays, tmp_path: Path, rows: int) -> None:
    fitted.save_onnx(tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # no side file of weights
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (answer,) = session.run(["probability"], {"features": arrays.x_validation[:rows]})
    assert answer.shape == (rows, 1)
    np.testing.assert_allclose(answer[:, 0], fitted.probability(arrays.x_validation[:rows]), atol=1e-6)


def test_a_number_that_is_not_finite_names_the_step_and_the_row(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    broken = arrays.x_train.copy()
    broken[5, 2] = np.nan
    ids = np.array([f"id-{row}" for row in range(len(broken))])
    line = "the loss of epoch 1 is not finite" if kind.name == "baseline" else r"non-finite at step \d+ in layer .*id-5"
    with pytest.raises(TrainingFailed, match=f"{kind.name}: {line}"):
        kind.fit(dataclasses.replace(arrays, x_train=broken, ids_train=ids), tmp_path)


@pytest.mark.parametrize(("part", "line"), [("y_train", "all 513 training"), ("y_validation", "all 300 validation")])
def test_rows_of_one_class_are_refused(kind: Kind, arrays: Arrays, tmp_path: Path, part: str, line: str) -> None:
    with pytest.raises(TrainingFailed, match=f"{line} rows are of one class"):
        kind.fit(dataclasses.replace(arrays, **{part: np.zeros_like(getattr(arrays, part))}), tmp_path)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_model_of_the_wrong_shape_is_refused_before_training(framework: str, arrays: Arrays, tmp_path: Path) -> None:
    def two_logits(inputs: int, params: Mapping[str, Any]) -> Any:
        if framework == "torch":
            from torch import nn

            return nn.Linear(inputs, 2)
        import keras

        return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2)])

    with pytest.raises(UsageError, match=r"\(rows, 6\) to one logit a row, \(rows, 1\); for 2 rows it gave \(2, 2\)"):
        trainer(framework).fit(two_logits, arrays, PARAMS, checkpoints=tmp_path, on_epoch=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_model_function_that_fails_is_the_callers_mistake(framework: str, arrays: Arrays, tmp_path: Path) -> None:
    def broken(inputs: int, params: Mapping[str, Any]) -> Any:
        return params["hidden"]

    with pytest.raises(UsageError, match=r"model function failed .KeyError: 'hidden'.; mend it in project.py"):
        trainer(framework).fit(broken, arrays, PARAMS, checkpoints=tmp_path, on_epoch=lambda _: None)


def test_a_model_function_gets_its_own_parameters(arrays: Arrays, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def build(inputs: int, params: Mapping[str, Any]) -> Any:
        seen.update(params)
        return build_torch(inputs, params)

    extra = {"hidden": 8, "torch": {"hidden": 4, "epochs": 1}, "keras": {"hidden": 2}}
    params = dataclasses.replace(PARAMS, extra=extra)
    fitted = trainer("torch").fit(build, arrays, params, checkpoints=tmp_path, on_epoch=lambda _: None)
    assert seen == {"hidden": 4}
    assert len(fitted.history) == 1
