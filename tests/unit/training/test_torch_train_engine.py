"""A torch model while it learns, in one process."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fullcircle.core.project import Compute, Training
from fullcircle.training.on_torch.framework import FRAMEWORK
from fullcircle.training.ports import Chunk, TrainEngine

INPUTS = 6


def build(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
    hidden: list[nn.Module] = [nn.Linear(inputs, 16), nn.ReLU()]
    if params.get("dropout"):
        hidden.append(nn.Dropout(params["dropout"]))
    return nn.Sequential(*hidden, nn.Linear(16, 1))


def chunk(steps: int, rows: int, *, first: int = 1, scale: float = 1.0, shape: tuple[int, ...] = (INPUTS,)) -> Chunk:
    random = np.random.default_rng([first, rows])
    x = (scale * random.normal(size=(steps, rows, *shape))).astype(np.float32)
    y = (x.reshape(steps, rows, -1)[..., 0] + random.normal(size=(steps, rows)) > 0).astype(np.float32)
    w = random.uniform(0.5, 2.0, size=(steps, rows)).astype(np.float32)
    return Chunk(first, x, y, w, np.full(steps, rows))


def part(whole: Chunk, steps: slice) -> Chunk:
    return Chunk(whole.first + (steps.start or 0), whole.x[steps], whole.y[steps], whole.w[steps], whole.counts[steps])


@contextlib.contextmanager
def engine(training: Training | None = None, **compute: Any) -> Iterator[TrainEngine]:
    settings = Compute(device="cpu", **compute)
    with FRAMEWORK.process_group(settings) as process_group:
        yield FRAMEWORK.engine(build, (INPUTS,), training or Training(seed=3), settings, process_group)


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def test_steps_are_those_of_a_loop_written_by_hand() -> None:
    whole = chunk(5, 32)
    torch.manual_seed(3)
    model = build(INPUTS, {})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, norms = [], []
    for x, y, w in zip(*map(torch.from_numpy, (whole.x, whole.y, whole.w)), strict=True):
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(model(x)[:, 0], y, weight=w)
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.05)))
        optimizer.step()
        losses.append(float(loss))
    with engine(Training(seed=3, learning_rate=1e-3, clip_norm=0.05)) as ours:
        results = ours.steps(whole)
        np.testing.assert_allclose(losses, results.losses, atol=1e-6)
        np.testing.assert_allclose(norms, results.norms, atol=1e-6)
        by_hand = {name: values.numpy() for name, values in model.state_dict().items()}
        assert difference(by_hand, ours.weights()) < 1e-6
    assert min(norms) > 0.05  # every step was clipped


def test_a_chunk_is_its_steps_one_after_the_other_to_the_last_bit() -> None:
    training = Training(seed=3, extra={"dropout": 0.3})
    whole = chunk(4, 32)
    with engine(training) as at_once:
        together = at_once.steps(whole)
    with engine(training) as by_one:
        alone = [by_one.steps(part(whole, slice(i, i + 1))) for i in range(4)]
        assert together.losses.tolist() == [float(step.losses[0]) for step in alone]
        assert together.norms.tolist() == [float(step.norms[0]) for step in alone]
        assert same(at_once.weights(), by_one.weights())


def test_a_batch_in_parts_is_the_same_step() -> None:
    whole = chunk(6, 33)
    with engine() as at_once, engine(accumulate=4) as in_parts:
        expected, got = at_once.steps(whole), in_parts.steps(whole)
        np.testing.assert_allclose(expected.losses, got.losses, atol=1e-6)
        np.testing.assert_allclose(expected.norms, got.norms, atol=1e-6)
        assert difference(at_once.weights(), in_parts.weights()) < 1e-6


def test_more_parts_than_rows_are_as_many_as_rows() -> None:
    whole = chunk(2, 3)
    with engine() as at_once, engine(accumulate=10) as in_parts:
        np.testing.assert_allclose(at_once.steps(whole).losses, in_parts.steps(whole).losses, atol=1e-6)


def test_a_row_of_weight_0_changes_nothing() -> None:
    whole = chunk(3, 16)
    filled = Chunk(
        1,
        np.concatenate([whole.x, whole.x[:, :1]], axis=1),
        np.concatenate([whole.y, whole.y[:, :1]], axis=1),
        np.concatenate([whole.w, np.zeros((3, 1), dtype=np.float32)], axis=1),
        whole.counts,
    )
    with engine() as plain, engine() as with_filler:
        np.testing.assert_allclose(plain.steps(whole).losses, with_filler.steps(filled).losses, atol=1e-6)
        assert difference(plain.weights(), with_filler.weights()) < 1e-6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_and_keeps_float32_weights(precision: Any) -> None:
    whole = chunk(60, 64)
    training = Training(seed=3, learning_rate=1e-2, clip_norm=1.0)
    with engine(training) as full, engine(training, precision=precision) as half:
        expected, got = full.steps(whole), half.steps(whole)
        assert {values.dtype for values in half.weights().values()} == {np.dtype(np.float32)}
        assert np.isfinite(got.losses).all() and np.isfinite(got.norms).all()
        assert expected.losses.tolist() != got.losses.tolist()
        np.testing.assert_allclose(expected.losses, got.losses, atol=0.05)
        assert got.losses[-10:].mean() < got.losses[:10].mean() - 0.05


def test_a_step_that_overflows_in_float16_is_left_out_and_is_no_bad_number() -> None:
    whole = chunk(1, 16, scale=2000.0)
    with engine(precision="float16") as half:
        before = half.weights()
        results = half.steps(whole)
        assert results.norms.tolist() == [0.0]
        assert np.isfinite(results.losses).all()
        assert same(before, half.weights())


def test_logits_are_without_dropout_and_draw_nothing() -> None:
    training = Training(seed=3, extra={"dropout": 0.5})
    whole = chunk(2, 16)
    features = whole.x[0]
    with engine(training) as undisturbed:
        expected = undisturbed.steps(whole)
    with engine(training) as asked:
        first = asked.steps(part(whole, slice(0, 1)))
        answers = [asked.outputs(features) for _ in range(2)]
        second = asked.steps(part(whole, slice(1, 2)))
    assert answers[0].shape == (16, 1) and answers[0].dtype == np.float32
    assert answers[0].tobytes() == answers[1].tobytes()
    assert expected.losses.tolist() == [float(first.losses[0]), float(second.losses[0])]


def test_weights_can_be_taken_and_those_of_another_model_are_refused_untouched() -> None:
    with engine() as one, engine(Training(seed=4)) as other:
        weights = other.weights()
        one.take(weights)
        assert same(weights, one.weights())
        broken = dict(weights) | {"2.bias": np.zeros(3, dtype=np.float32)}
        with pytest.raises(ValueError, match=r"2.bias has shape \(1,\), the weights \(3,\)"):
            one.take(broken)
        with pytest.raises(KeyError, match=r"no weights for 2\.bias"):
            one.take({name: values for name, values in weights.items() if name != "2.bias"})
        with pytest.raises(KeyError, match="the model has no extra"):
            one.take(dict(weights) | {"extra": np.zeros(1, dtype=np.float32)})
        assert same(weights, one.weights())


def test_the_architecture_is_text_that_changes_with_the_layers_and_names_no_address() -> None:
    def with_function(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(inputs, params["width"])

            def extra_repr(self) -> str:
                return f"activation={object()!r}"

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.linear(x).sum(dim=1, keepdim=True)

        return Net()

    texts = []
    for width in (4, 4, 5):
        with FRAMEWORK.process_group(Compute(device="cpu")) as process_group:
            training = Training(extra={"width": width})
            made = FRAMEWORK.engine(with_function, (INPUTS,), training, Compute(device="cpu"), process_group)
            texts.append(made.architecture)
    assert texts[0] == texts[1] != texts[2]
    assert "0x" not in texts[0]


def test_an_image_model_sees_channels_first_in_memory_that_has_them_last() -> None:
    seen: list[tuple[torch.Size, bool]] = []

    class Convolution(nn.Module):
        def __init__(self, inputs: tuple[int, int, int]) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(inputs[0], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((x.shape, x.is_contiguous(memory_format=torch.channels_last)))
            return self.layers(x)

    def images(inputs: Any, params: Mapping[str, Any]) -> nn.Module:
        assert inputs == (3, 8, 10)
        return Convolution(inputs)

    settings = Compute(device="cpu")
    shape = (8, 10, 3)
    with FRAMEWORK.process_group(settings) as process_group:
        made = FRAMEWORK.engine(images, shape, Training(), settings, process_group)
        made.steps(chunk(1, 4, shape=shape))
        assert made.outputs(np.zeros((5, *shape), dtype=np.float32)).shape == (5, 1)
    assert seen == [(torch.Size((4, 3, 8, 10)), True), (torch.Size((5, 3, 8, 10)), True)]


def test_the_processes_own_settings_are_there_again_afterwards() -> None:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with FRAMEWORK.process_group(Compute(device="cpu", threads=threads + 1)) as process_group:
        assert torch.get_num_threads() == threads + 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.distributed.is_initialized()
        values = np.array([1.5, 2.0])
        assert (
            process_group.sum_over_ranks(values).tolist() == [1.5, 2.0]
            and process_group.sum_over_ranks(values) is not values
        )
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_another_seed_gives_another_model() -> None:
    whole = chunk(1, 16)
    with engine(Training(seed=3)) as one, engine(dataclasses.replace(Training(seed=3), seed=4)) as other:
        assert one.steps(whole).losses.tolist() != other.steps(whole).losses.tolist()
