"""A Keras model while it learns, in one process on one device."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_keras.backend import keras, tf
from fullcircle.training.on_keras.framework import FRAMEWORK
from fullcircle.training.ports import Chunk

INPUTS = 6


def build(inputs, params):
    layers = [keras.Input((inputs,)), keras.layers.Dense(8, activation="relu")]
    if "dropout" in params:
        layers.append(keras.layers.Dropout(params["dropout"]))
    if params.get("normalised"):
        layers.append(keras.layers.BatchNormalization())
    return keras.Sequential([*layers, keras.layers.Dense(1, kernel_regularizer=params.get("regularizer"))])


def chunk(steps, rows, first=1, seed=0):
    rng = np.random.default_rng([seed, first])
    x = rng.normal(size=(steps, rows, INPUTS)).astype(np.float32)
    y = (x[..., 0] + rng.normal(size=(steps, rows)) > 0).astype(np.float32)
    w = rng.uniform(0.5, 2, size=(steps, rows)).astype(np.float32)
    return Chunk(first=first, x=x, y=y, w=w, counts=np.full(steps, rows))


@contextlib.contextmanager
def engine(training=None, **compute):
    settings = Compute(**compute)
    with FRAMEWORK.process_group(settings) as process_group:
        yield FRAMEWORK.engine(build, (INPUTS,), training or Training(), settings, process_group)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def close(a, b, tolerance=1e-6):
    return a.keys() == b.keys() and all(np.allclose(a[name], b[name], rtol=0, atol=tolerance) for name in a)


def test_a_chunk_is_its_steps_one_after_the_other_to_the_last_bit():
    whole = chunk(4, 32)
    with engine(Training(extra={"dropout": 0.3})) as at_once, engine(Training(extra={"dropout": 0.3})) as by_one:
        together = at_once.steps(whole)
        alone = [
            by_one.steps(Chunk(i + 1, whole.x[i : i + 1], whole.y[i : i + 1], whole.w[i : i + 1], whole.counts[:1]))
            for i in range(4)
        ]
        assert together.losses.tolist() == [float(step.losses[0]) for step in alone]
        assert together.norms.tolist() == [float(step.norms[0]) for step in alone]
        assert same(at_once.weights(), by_one.weights())


def test_the_loss_is_the_weighted_log_loss_over_the_count_of_the_whole_batch():
    one = chunk(1, 16)
    half = Chunk(1, one.x, one.y, one.w, counts=np.array([32]))
    with engine() as first:
        logits = first.outputs(one.x[0])[:, 0].astype(np.float64)
        expected = (one.w[0] * (np.logaddexp(0, logits) - one.y[0] * logits)).sum() / 32
        assert first.steps(half).losses[0] == pytest.approx(expected, rel=1e-6)


def test_other_numbers_of_steps_and_rows_do_not_trace_the_graph_anew():
    traced = []

    def counted(inputs, params):
        model = build(inputs, params)
        plain = model.call

        def call(*args, training=None, **kwargs):
            if training and not tf.executing_eagerly():
                traced.append(1)
            return plain(*args, training=training, **kwargs)

        model.call = call
        return model

    with FRAMEWORK.process_group(Compute()) as process_group:
        learning = FRAMEWORK.engine(counted, (INPUTS,), Training(), Compute(), process_group)
        learning.steps(chunk(2, 16))
        once = len(traced)
        learning.steps(chunk(5, 16))
        learning.steps(chunk(1, 7))
    assert once >= 1
    assert len(traced) == once


def test_a_batch_in_parts_is_the_same_step():
    with engine(Training(clip_norm=0.5)) as whole, engine(Training(clip_norm=0.5), accumulate=3) as parts:
        a, b = whole.steps(chunk(5, 32)), parts.steps(chunk(5, 32))
        assert a.losses == pytest.approx(b.losses, abs=1e-6)
        assert a.norms == pytest.approx(b.norms, abs=1e-6)
        assert close(whole.weights(), parts.weights())


def test_a_long_gradient_is_shortened_and_its_own_norm_is_told():
    with engine(Training(clip_norm=1e-3)) as clipped, engine() as free:
        told = clipped.steps(chunk(1, 32)).norms[0]
        assert told == free.steps(chunk(1, 32)).norms[0]
        assert told > 1e-3
        # Adam divides by the gradient's own size, so the first step is as long; the second is not the same.
        clipped.steps(chunk(3, 32, first=2))
        free.steps(chunk(3, 32, first=2))
        assert not same(clipped.weights(), free.weights())


def test_a_regularizer_of_the_project_pulls_at_its_weights_and_is_not_told_as_loss():
    heavy = Training(extra={"regularizer": keras.regularizers.L2(100.0)})
    with engine(heavy) as pulled, engine() as free:
        a, b = pulled.steps(chunk(1, 32)), free.steps(chunk(1, 32))
        assert a.losses.tolist() == b.losses.tolist()
        assert a.norms[0] > 10 * b.norms[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_loaded_checkpoint_goes_on_to_the_last_bit_with_dropout(tmp_path, precision):
    params = Training(extra={"dropout": 0.4, "normalised": True})
    with engine(params, precision=precision) as first:
        first.steps(chunk(3, 16))
        pending = first.save(tmp_path)
        losses = first.steps(chunk(6, 16, first=4)).losses  # what is written is the state before
        pending.wait()
        assert pending.done()
        with engine(params, precision=precision) as second:
            second.steps(chunk(1, 16))
            second.load(tmp_path)
            assert second.steps(chunk(6, 16, first=4)).losses.tolist() == losses.tolist()
            assert same(first.weights(), second.weights())


def test_dropout_of_a_rank_is_its_own():
    from fullcircle.training.on_keras.process_group import KerasProcessGroup

    class Third(KerasProcessGroup):
        rank, size = 2, 3

    training = Training(extra={"dropout": 0.5})
    alone = FRAMEWORK.engine(build, (INPUTS,), training, Compute(), KerasProcessGroup())
    third = FRAMEWORK.engine(build, (INPUTS,), training, Compute(), Third())
    assert same(alone.weights(), third.weights())
    assert alone.steps(chunk(1, 16)).losses.tolist() != third.steps(chunk(1, 16)).losses.tolist()


def test_taking_weights_answers_with_them_and_leaves_dropout_where_it_was():
    with engine(Training(extra={"dropout": 0.5})) as one, engine(Training(seed=2, extra={"dropout": 0.5})) as other:
        other.take(one.weights())
        rows = chunk(1, 16).x[0]
        assert other.outputs(rows).tolist() == one.outputs(rows).tolist()
        assert not any("seed" in name for name in one.weights())


def test_weights_that_do_not_fit_are_refused_and_change_nothing():
    with engine() as one:
        before = one.weights()
        with pytest.raises(ValueError, match=r"kernel has shape \(6, 8\), got \(3, 8\)"):
            one.take({**before, "model/0000": np.zeros((3, 8), np.float32)})
        with pytest.raises(KeyError, match="model/0001"):
            one.take({"model/0000": before["model/0000"]})
        assert same(before, one.weights())


def test_a_folder_that_is_no_keras_checkpoint_is_refused(tmp_path):
    with engine() as one, pytest.raises(ValueError, match=f"no Keras checkpoint in {tmp_path}"):
        one.load(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with engine(Training(extra={"normalised": True})) as other:
        other.save(tmp_path).wait()
    with engine() as one, pytest.raises(ValueError, match="there are 4 model variables, got 8"):
        one.load(tmp_path)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "folder").write_text("a file, so no folder")
    with engine() as one:
        pending = one.save(tmp_path / "folder")
        with pytest.raises(OSError, match="folder"):
            pending.wait()


def test_xla_computes_the_same_steps():
    with engine() as plain, engine(compile=True) as compiled:
        a, b = plain.steps(chunk(5, 32)), compiled.steps(chunk(5, 32))
        assert a.losses == pytest.approx(b.losses, abs=1e-6)
        assert close(plain.weights(), compiled.weights(), 1e-5)


def test_a_whole_step_of_fixed_shape_compiles_with_xla_as_a_tpu_needs_it():
    """Not a run on a TPU: the same compiler, for the CPU. Without dropout, for XLA draws other numbers."""
    one = chunk(1, 32)
    training = Training(clip_norm=0.5, extra={"normalised": True})
    with engine(training) as plain, engine(training) as compiled:
        expected = plain.steps(one)
        step = tf.function(compiled._chunk_graph._step, jit_compile=True, autograph=False)
        loss, norm, _ = step(*(tf.constant(values[0]) for values in (one.x, one.y, one.w, one.counts))).numpy()
        assert [loss, norm] == pytest.approx([expected.losses[0], expected.norms[0]], abs=1e-6)
        assert close(plain.weights(), compiled.weights(), 1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_with_less_precision_the_weights_stay_float32_and_the_policy_of_others_stays_as_it_was(precision):
    with engine() as full, engine(precision=precision) as short:
        a, b = full.steps(chunk(20, 32)), short.steps(chunk(20, 32))
        assert a.losses.tolist() != b.losses.tolist()
        assert a.losses == pytest.approx(b.losses, abs=0.05)
        assert {values.dtype for values in short.weights().values()} == {np.dtype(np.float32)}
        assert short.outputs(chunk(1, 4).x[0]).dtype == np.float32
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_gradients_too_long_for_float16_are_no_fault():
    steep = chunk(1, 16)
    steep = Chunk(1, steep.x * 1000, steep.y, steep.w * 1000, steep.counts)
    with engine(precision="float16") as one:
        before = one.weights()
        results = one.steps(steep)
        assert np.isfinite(results.losses).all()
        assert results.norms.tolist() == [0.0]
        assert same(before, one.weights())


def test_a_number_that_is_not_finite_shows_in_loss_and_norm():
    bad = chunk(2, 8)
    bad.x[1, 3, 0] = np.nan
    for precision in ("float32", "float16"):
        with engine(precision=precision) as one:
            results = one.steps(bad)
            assert np.isfinite([results.losses[0], results.norms[0]]).all()
            assert np.isnan([results.losses[1], results.norms[1]]).all()


def test_the_architecture_is_the_same_for_every_model_of_the_same_layers():
    with engine() as one, engine() as two, engine(Training(extra={"dropout": 0.1})) as other:
        assert one.architecture == two.architecture
        assert one.architecture != other.architecture
