"""What every Trainer keeps, whichever framework is behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fullcircle.core.errors import Preempted, TargetInvalid, TrainingFailed, UsageError
from fullcircle.core.project import Binary, Compute, ModelFunction, Training
from fullcircle.core.records.training import Arrays, EpochMetrics, Fitted
from fullcircle.training.jobs import RankJob
from fullcircle.training.ports import Trainer
from fullcircle.training.results import read_result
from fullcircle.training.trainers import FAMILIES, fit, trainer
from fullcircle.training.training_loop.event_log import NullListener
from fullcircle.training.training_loop.validation_losses import mean_loss

FEATURES = 6
TASK = Binary("late", positive="came late")
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
    build: ModelFunction

    @property
    def trainer(self) -> Trainer:
        return trainer(self.name)

    def fit(
        self,
        arrays: Arrays,
        folder: Path,
        params: Training = PARAMS,
        on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    ) -> Fitted:
        return fit(self.name, self.build, arrays, params, task=TASK, folder=folder, on_epoch=on_epoch)

    def job(self, arrays: Arrays, folder: Path, **changes: Any) -> RankJob:
        given: dict[str, Any] = {"training": PARAMS, "compute": Compute(), "storage": str(folder / "checkpoints")}
        return RankJob(project="", task=TASK, build=self.build, arrays=arrays, folder=folder, **(given | changes))


@pytest.fixture(scope="module", params=list(FAMILIES))
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param, BUILD[request.param])


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
    assert fitted.answers(arrays.x_validation).tobytes() == again.answers(arrays.x_validation).tobytes()
    assert [e.train_loss for e in fitted.history] == [e.train_loss for e in again.history]


def test_another_seed_gives_other_weights(kind: Kind, fitted: Fitted, arrays: Arrays, tmp_path: Path) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression has one solution, whatever the seed")
    other = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, seed=8))
    assert not np.array_equal(fitted.answers(arrays.x_validation), other.answers(arrays.x_validation))


def test_it_learns(fitted: Fitted) -> None:
    assert fitted.history[fitted.best_epoch - 1].validation["roc_auc"] > 0.75


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
    assert fitted.answers(arrays.x_validation).tobytes() == resumed.answers(arrays.x_validation).tobytes()


def test_a_fit_that_was_done_is_not_done_again(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression is solved in one go, in seconds")
    first, second = kind.fit(arrays, tmp_path), kind.fit(arrays, tmp_path)
    assert first.history == second.history  # the seconds of each epoch too: nothing was trained
    assert first.answers(arrays.x_validation).tobytes() == second.answers(arrays.x_validation).tobytes()


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_checkpoint_of_other_rows_is_refused(framework: str, arrays: Arrays, tmp_path: Path) -> None:
    kind = Kind(framework, BUILD[framework])
    short = dataclasses.replace(PARAMS, epochs=1)
    kind.fit(make_arrays(seed=1), tmp_path, short)
    with pytest.raises(UsageError, match=r"step-\d{10} belongs to another training \(data '"):
        kind.fit(arrays, tmp_path, short)


def test_the_best_epoch_is_what_answers(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    wild = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, learning_rate=0.2, epochs=6, patience=6))
    best = min(wild.history, key=lambda e: e.validation_loss)
    assert best.epoch == wild.best_epoch
    weighting = TASK.weighting(arrays.y_train, balanced=True)
    (offset,) = TASK.link(arrays.y_train, weighting).offset
    p = wild.answers(arrays.x_validation).astype(np.float64)
    logits = (np.log(p) - np.log1p(-p) - offset).astype(np.float32)
    loss = mean_loss(TASK.objective, logits[:, None], arrays.y_validation, weighting.rows(arrays.y_validation))
    assert loss == pytest.approx(best.validation_loss, abs=1e-4)


def test_it_stops_when_patience_epochs_brought_nothing(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    stopped = kind.fit(arrays, tmp_path, dataclasses.replace(PARAMS, learning_rate=0.5, epochs=40, patience=2))
    assert len(stopped.history) < 40
    if kind.name != "baseline":
        assert len(stopped.history) == stopped.best_epoch + 2


def test_class_weights_leave_honest_probabilities(fitted: Fitted, arrays: Arrays) -> None:
    assert 0.15 < arrays.y_train.mean() < 0.3
    assert fitted.answers(arrays.x_train).mean() == pytest.approx(arrays.y_train.mean(), abs=0.06)


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_the_graph_of_the_model_agrees_with_it(fitted: Fitted, arrays: Arrays, tmp_path: Path, rows: int) -> None:
    fitted.save_onnx(tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # no side file of weights
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (answer,) = session.run(["answers"], {"features": arrays.x_validation[:rows]})
    assert answer.shape == (rows, 1)
    np.testing.assert_allclose(answer[:, 0], fitted.answers(arrays.x_validation[:rows]), atol=1e-6)


def test_a_number_that_is_not_finite_names_the_step_and_the_row(kind: Kind, arrays: Arrays, tmp_path: Path) -> None:
    broken = arrays.x_train.copy()
    broken[5, 2] = np.nan
    ids = np.array([f"id-{row}" for row in range(len(broken))])
    line = "the loss of epoch 1 is not finite" if kind.name == "baseline" else r"non-finite at step \d+ in layer .*id-5"
    with pytest.raises(TrainingFailed, match=f"{kind.name}: {line}"):
        kind.fit(dataclasses.replace(arrays, x_train=broken, ids_train=ids), tmp_path)


@pytest.mark.parametrize(("part", "line"), [("y_train", "all 513 training"), ("y_validation", "all 300 validation")])
def test_rows_of_one_class_are_refused(kind: Kind, arrays: Arrays, tmp_path: Path, part: str, line: str) -> None:
    with pytest.raises(TargetInvalid, match=f"{line} rows are of one class: target 'late' is 0"):
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
        fit(framework, two_logits, arrays, PARAMS, task=TASK, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_model_function_that_fails_is_the_callers_mistake(framework: str, arrays: Arrays, tmp_path: Path) -> None:
    def broken(inputs: int, params: Mapping[str, Any]) -> Any:
        return params["hidden"]

    with pytest.raises(UsageError, match=r"model function failed .KeyError: 'hidden'.; mend it in project.py"):
        fit(framework, broken, arrays, PARAMS, task=TASK, folder=tmp_path)


def test_a_model_function_gets_its_own_parameters(arrays: Arrays, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def build(inputs: int, params: Mapping[str, Any]) -> Any:
        seen.update(params)
        return build_torch(inputs, params)

    extra = {"hidden": 8, "torch": {"hidden": 4, "epochs": 1}, "keras": {"hidden": 2}}
    params = dataclasses.replace(PARAMS, extra=extra)
    fitted = fit("torch", build, arrays, params, task=TASK, folder=tmp_path)
    assert seen == {"hidden": 4}
    assert len(fitted.history) == 1


def test_one_that_is_asked_to_stop_leaves_what_comes_to_the_very_same_model(
    kind: Kind, fitted: Fitted, arrays: Arrays, tmp_path: Path
) -> None:
    if kind.name == "baseline":
        pytest.skip("logistic regression is solved in one go, in seconds")
    asked: list[EpochMetrics] = []

    class AfterTheFirst(NullListener):
        def epoch(self, metrics: EpochMetrics) -> None:
            asked.append(metrics)

    job = kind.job(arrays, tmp_path, stop=lambda: bool(asked))
    with pytest.raises(Preempted):
        kind.trainer.fit(job, AfterTheFirst())
    assert not (tmp_path / "result.json").exists()
    kind.trainer.fit(kind.job(arrays, tmp_path))
    resumed = kind.trainer.fitted(job, read_result(tmp_path))
    assert fitted.answers(arrays.x_validation).tobytes() == resumed.answers(arrays.x_validation).tobytes()


def test_its_result_is_in_the_folder_and_says_what_the_listener_heard(
    kind: Kind, arrays: Arrays, tmp_path: Path
) -> None:
    heard: list[EpochMetrics] = []

    class Hears(NullListener):
        def epoch(self, metrics: EpochMetrics) -> None:
            heard.append(metrics)

    job = kind.job(arrays, tmp_path)
    kind.trainer.check(job, 1)
    assert list(tmp_path.iterdir()) == []
    kind.trainer.fit(job, Hears())
    result = read_result(tmp_path)
    assert result.history == tuple(heard)
    assert result.best_epoch == min(heard, key=lambda each: (each.validation_loss, each.epoch)).epoch
