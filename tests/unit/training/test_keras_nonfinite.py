"""Where a number goes bad in a Keras model: the layer, the pass and the rows."""

from __future__ import annotations

import numpy as np
import pytest

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, Diagnosis

ROWS = 8


def chunk(x=None, y=None, first=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, ROWS, 3)).astype(np.float32) if x is None else x
    y = np.zeros((1, ROWS), np.float32) if y is None else y
    return Chunk(first=first, x=x, y=y, w=np.ones((1, ROWS), np.float32), counts=np.array([ROWS]))


def diagnosis(build, chunk, learning_rate=None):
    compute, training = Compute(), Training()
    if learning_rate is not None:  # no project may say so large a one; a model's own schedule may come to it
        object.__setattr__(training, "learning_rate", learning_rate)
    with FRAMEWORK.process_group(compute) as process_group:
        engine = FRAMEWORK.engine(build, (3,), training, compute, process_group)
        return engine.diagnose(chunk)


def sequential(*layers):
    """Layers are given as functions that make them: each model has its own."""
    return lambda inputs, params: keras.Sequential(
        [keras.Input((inputs,)), *(layer() for layer in layers), keras.layers.Dense(1)]
    )


def dense(width=4, **how):
    return lambda: keras.layers.Dense(width, **how)


class LogOfPositive(keras.layers.Layer):
    def call(self, x):
        return tf.math.log(tf.nn.relu(x))


class RootOfZero(keras.layers.Layer):
    """Finite forward; the derivative of a square root at 0 is infinite, and 0 times it is not a number."""

    def call(self, x):
        return tf.sqrt(x * 0.0)


def test_a_finite_step_has_no_diagnosis():
    assert diagnosis(sequential(dense(activation="relu")), chunk()) is None


def test_a_logarithm_of_zero_is_blamed_on_its_layer_by_the_name_that_its_author_knows():
    found = diagnosis(sequential(dense(), lambda: LogOfPositive(name="logs"), dense()), chunk())
    assert found is not None
    assert (found.layer, found.where) == ("logs (LogOfPositive)", "forward")


def test_an_operation_of_a_functional_model_is_blamed_like_a_layer():
    def build(inputs, params):
        start = keras.Input((inputs,))
        return keras.Model(start, keras.layers.Dense(1)(keras.ops.log(keras.ops.relu(start))))

    found = diagnosis(build, chunk())
    assert found is not None
    assert (found.layer, found.where) == ("log (Log)", "forward")


def test_arithmetic_between_layers_is_blamed_on_the_layer_around_it():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(4)

        def call(self, x):
            return tf.math.log(self.inner(x) * 0.0)

    assert diagnosis(sequential(Block), chunk()) == Diagnosis(layer="block (Block)", where="forward", rows=())


def test_the_rows_whose_numbers_went_bad_are_named():
    class Late(keras.layers.Layer):
        def call(self, x):
            return tf.math.log(x[:, :1] + 1.0)

    x = np.zeros((1, ROWS, 3), np.float32)
    x[0, [2, 5], 0] = -2.0
    found = diagnosis(sequential(Late), chunk(x))
    assert found == Diagnosis(layer="late (Late)", where="forward", rows=(2, 5))


def test_one_poisoned_row_is_named():
    x = np.zeros((1, ROWS, 3), np.float32)
    x[0, 3, 1] = np.nan
    found = diagnosis(sequential(dense(), keras.layers.BatchNormalization), chunk(x))
    assert found == Diagnosis(layer="dense (Dense)", where="forward", rows=(3,))


def test_a_poisoned_label_is_found_in_the_loss():
    y = np.zeros((1, ROWS), np.float32)
    y[0, 6] = np.inf
    found = diagnosis(sequential(dense()), chunk(y=y))
    assert found == Diagnosis(layer="loss", where="loss", rows=(6,))


def test_a_gradient_that_goes_bad_while_the_answers_stay_finite_is_blamed_on_its_layer():
    found = diagnosis(sequential(dense(), lambda: RootOfZero(name="roots"), dense()), chunk())
    assert found is not None
    assert (found.layer, found.where) == ("roots (RootOfZero)", "backward")


def test_a_gradient_that_goes_bad_in_one_row_names_the_row():
    class Root(keras.layers.Layer):
        def call(self, x):
            return tf.sqrt(tf.nn.relu(x))

    x = np.ones((1, ROWS, 3), np.float32)
    x[0, 4] = 0.0
    constant = dense(2, kernel_initializer="ones", bias_initializer="zeros")
    found = diagnosis(sequential(constant, Root), chunk(x))
    assert found == Diagnosis(layer="root (Root)", where="backward", rows=(4,))


def test_weights_that_are_bad_already_are_blamed_on_the_update_before():
    def build(inputs, params):
        bad = keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(np.nan))
        return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2), bad])

    assert diagnosis(build, chunk()) == Diagnosis(layer="dense_1/bias", where="update", rows=())


def test_an_update_that_goes_too_far_is_named():
    found = diagnosis(sequential(dense()), chunk(), learning_rate=1e39)
    assert found is not None
    assert found.where == "update"


def test_the_diagnosis_leaves_the_learner_as_it_was():
    compute = Compute()
    with FRAMEWORK.process_group(compute) as process_group:
        build = sequential(dense(), lambda: keras.layers.Dropout(0.5), keras.layers.BatchNormalization)
        asked, other = (FRAMEWORK.engine(build, (3,), Training(), compute, process_group) for _ in range(2))
        asked.diagnose(chunk())
        assert asked.steps(chunk()).losses == pytest.approx(other.steps(chunk()).losses, rel=0, abs=0)
        assert asked.outputs(chunk().x[0]).tolist() == other.outputs(chunk().x[0]).tolist()
