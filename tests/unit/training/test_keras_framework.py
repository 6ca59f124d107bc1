"""What Keras brings to training beside the engine: the look at the model function, export, profile, memory."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute, Training
from fullcircle.core.tasks import Link
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.framework import FRAMEWORK


def convolution(inputs, params):
    pooled = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(inputs), keras.layers.Conv2D(4, 3), pooled, keras.layers.Dense(1)])


def multilayer(inputs, params):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(4), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda inputs, params: params["hidden"], r"the Keras model function failed \(KeyError: 'hidden'\)"),
        (lambda inputs, params: "a model", "must return a keras.Model, got str"),
        (
            lambda inputs, params: keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(2)]),
            r"must take float32 \(rows, 3\) to one logit a row, \(rows, 1\); for 2 rows it gave \(2, 2\)",
        ),
        (
            lambda inputs, params: keras.Sequential([keras.Input((inputs + 1,)), keras.layers.Dense(1)]),
            r"must take float32 \(rows, 3\) to one logit a row, \(rows, 1\); it failed",
        ),
        (
            lambda inputs, params: keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1, trainable=False)]),
            "has nothing to learn",
        ),
    ],
)
def test_a_wrong_model_function_is_one_line(build, message):
    with pytest.raises(UsageError, match=message) as failure:
        FRAMEWORK.check(build, (3,), Training(), Compute())
    assert "\n" not in str(failure.value)


def test_a_right_model_function_passes_for_rows_and_for_images():
    FRAMEWORK.check(multilayer, (3,), Training(), Compute())
    FRAMEWORK.check(convolution, (8, 8, 1), Training(), Compute(precision="bfloat16"))


@pytest.mark.parametrize(("device", "message"), [("cuda", "TensorFlow finds no GPU here"), ("tpu", "infra/tpu")])
def test_a_device_that_is_not_here_is_refused(device, message):
    with pytest.raises(UsageError, match=message):
        FRAMEWORK.check(multilayer, (3,), Training(), Compute(device=device))


@pytest.mark.parametrize(("build", "shape"), [(multilayer, (3,)), (convolution, (8, 8, 1))])
def test_the_fitted_model_answers_with_the_weights_and_its_graph_agrees(tmp_path, build, shape):
    features = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    with FRAMEWORK.process_group(Compute()) as process_group:
        engine = FRAMEWORK.engine(build, shape, Training(), Compute(), process_group)
        fitted = FRAMEWORK.fitted(
            build,
            shape,
            Training(seed=2),
            weights=engine.weights(),
            link=Link(name="sigmoid", offset=(-0.25,)),
            history=(),
            best_epoch=1,
        )
        expected = 1 / (1 + np.exp(-(engine.outputs(features)[:, 0] - 0.25)))
    assert fitted.answers(features) == pytest.approx(expected, abs=1e-6)
    fitted.save_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (answer,) = session.run(["answers"], {"features": features})
    assert answer.shape == (20, 1)
    assert answer[:, 0] == pytest.approx(expected, abs=1e-6)


def test_weights_of_another_model_make_no_fitted_model():
    with pytest.raises(KeyError, match="model/0000"):
        FRAMEWORK.fitted(multilayer, (3,), Training(), weights={}, link=Link(name="sigmoid"), history=(), best_epoch=1)


def test_memory_that_ran_out_is_told_from_other_errors():
    full = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[1000000,1000000]")
    assert FRAMEWORK.out_of_memory(full)
    assert FRAMEWORK.out_of_memory(MemoryError())
    assert FRAMEWORK.out_of_memory(tf.errors.InternalError(None, None, "Failed to allocate memory for ..."))
    assert not FRAMEWORK.out_of_memory(tf.errors.InvalidArgumentError(None, None, "shapes do not match"))


def test_an_allocation_that_tensorflow_cannot_make_counts_as_memory():
    with pytest.raises(tf.errors.OpError) as failure:
        tf.zeros((1 << 22, 1 << 22))
    assert FRAMEWORK.out_of_memory(failure.value)


def test_the_profiler_leaves_a_trace(tmp_path):
    with FRAMEWORK.profiler(tmp_path):
        tf.reduce_sum(tf.random.normal((10, 10)))
    assert list(tmp_path.rglob("*.xplane.pb"))
