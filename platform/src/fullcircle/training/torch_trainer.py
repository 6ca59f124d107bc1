"""The torch trainer: whole-array indexing instead of a DataLoader, fused Adam, checkpoints as plain arrays."""

from __future__ import annotations

import contextlib
import copy
import random
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from fullcircle.core.errors import ExportFailed, UsageError
from fullcircle.core.models import Arrays, EpochMetrics, OnEpoch
from fullcircle.core.project import ModelFunction, Training
from fullcircle.training.checkpoints import Tensors
from fullcircle.training.epochs import fit_epochs
from fullcircle.training.onnx_file import OPSET, settle
from fullcircle.training.parameters import for_framework
from fullcircle.training.weighting import Weights, require_both_classes, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 16384


class TorchTrainer:
    """Fits the project's torch model (`core.models.Trainer`)."""

    framework = "torch"

    def fit(
        self, build: ModelFunction, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> TorchFitted:
        """Train until `patience` epochs brought nothing or `epochs` are done.

        Raises:
            UsageError: the model function fails or returns something else than one logit a row; before training.
            TrainingFailed: one class alone in a part of the rows, or a loss that is not finite, naming the epoch.
            HomeUnwritable: no checkpoint can be written.
        """
        params = for_framework(params, self.framework)
        require_both_classes(arrays)
        _seed(params.seed)
        model = _built(build, arrays.x_train.shape[1], params.extra)
        class_weights = weights(arrays.y_train, balanced=params.class_weights)
        learner = _TorchLearner(model, arrays, params, class_weights)
        with _reproducible(int(params.extra.get("threads", 1))):
            history, best = fit_epochs(learner, arrays, params, class_weights, folder=checkpoints, on_epoch=on_epoch)
        return TorchFitted(model.eval(), arrays.x_train.shape[1], class_weights.shift, history, best)


class TorchFitted:
    """A trained torch model (`core.models.Fitted`)."""

    framework = "torch"

    def __init__(
        self, model: torch.nn.Module, inputs: int, shift: float, history: tuple[EpochMetrics, ...], best_epoch: int
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self._answer = _Answer(model, shift).eval()
        self._inputs = inputs

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,)."""
        return _chunked(self._answer, features)

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, features) to `probability` (rows, 1).

        The TorchScript exporter takes 0.3 s, the newer one 6 s; the newer is asked when the first cannot do it.

        Raises:
            ExportFailed: neither exporter can write the model.
        """
        import onnx

        part = path.with_name(f"{path.name}.torch")
        try:
            _export(self._answer, self._inputs, part)
            settle(onnx.load(part), path)  # with its side file of weights, if there is one
        finally:
            for leftover in path.parent.glob(f"{part.name}*"):
                leftover.unlink()


class _Answer(torch.nn.Module):
    """The model as it is served: its logit, shifted back to the training rows' frequencies, as a probability."""

    def __init__(self, model: torch.nn.Module, shift: float) -> None:
        super().__init__()
        self.model = model
        self.shift = shift

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.model(features)
        return torch.sigmoid(logit - self.shift)


class _TorchLearner:
    framework = "torch"

    def __init__(self, model: torch.nn.Module, arrays: Arrays, params: Training, class_weights: Weights) -> None:
        self.architecture = repr(model)
        self._model = model
        self._batch = params.batch_size
        self._seed = params.seed
        self._optimizer = torch.optim.Adam(model.parameters(), lr=params.learning_rate, fused=True)
        self._x = torch.from_numpy(arrays.x_train)
        self._y = torch.from_numpy(arrays.y_train).reshape(-1, 1)
        self._w = torch.from_numpy(class_weights.rows(arrays.y_train)).reshape(-1, 1)

    def epoch(self, number: int, order: NDArray[np.int64]) -> float:
        _seed(self._seed + 1_000_003 * number)  # dropout depends on the epoch, not on how we got there
        self._model.train()
        total = torch.zeros((), dtype=torch.float64)
        weight = torch.zeros((), dtype=torch.float64)
        for rows in torch.split(torch.from_numpy(order), self._batch):
            w = self._w[rows]
            logit = self._model(self._x[rows])
            loss = functional.binary_cross_entropy_with_logits(logit, self._y[rows], weight=w)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            total += loss.detach() * len(rows)
            weight += w.sum()
        return float(total / weight)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        self._model.eval()
        return _chunked(self._model, features)

    def weights(self) -> Tensors:
        return {f"model/{name}": values.numpy(force=True).copy() for name, values in self._model.state_dict().items()}

    def state(self) -> Tensors:
        state = dict(self.weights())
        for index, slots in self._optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{slot}": values.numpy(force=True).copy() for slot, values in slots.items()}
        return state

    def restore(self, state: Tensors) -> None:
        tensors = {name: torch.from_numpy(values.copy()) for name, values in state.items()}
        self._model.load_state_dict(
            {name.removeprefix("model/"): values for name, values in tensors.items() if name.startswith("model/")}
        )
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, values in tensors.items():
            if name.startswith("optimizer/"):
                _, index, slot = name.split("/")
                slots.setdefault(int(index), {})[slot] = values
        if slots:
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": slots})


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a model function may draw from it
    torch.manual_seed(seed)


@contextlib.contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    """The same sums in the same order on every machine.

    One thread unless the project's `extra["threads"]` says more: with more, the last bits depend on the number of
    cores, and at these batch sizes threads that wait for each other beside other work were five times slower.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads_before = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _built(build: ModelFunction, inputs: int, extra: Mapping[str, Any]) -> torch.nn.Module:
    try:
        model = build(inputs, extra)
    except Exception as error:
        raise UsageError(
            f"the torch model function failed ({type(error).__name__}: {error})", hint="mend it in project.py"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"the torch model function must return a torch.nn.Module, got {type(model).__name__}")
    expected = f"float32 (rows, {inputs}) to one logit a row, (rows, 1)"
    try:
        with torch.inference_mode():
            answer = copy.deepcopy(model).eval()(torch.zeros(2, inputs))
    except Exception as error:
        raise UsageError(f"the torch model must take {expected}; it failed ({error})") from error
    shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if shape != (2, 1):
        raise UsageError(f"the torch model must take {expected}; for 2 rows it gave {shape} instead of (2, 1)")
    return model


def _chunked(model: torch.nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    answer = np.empty(len(features), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(features), CHUNK_ROWS):
            chunk = torch.from_numpy(np.ascontiguousarray(features[start : start + CHUNK_ROWS], dtype=np.float32))
            answer[start : start + len(chunk)] = model(chunk).numpy().reshape(-1)
    return answer


def _export(answer: torch.nn.Module, inputs: int, path: Path) -> None:
    example = torch.zeros(2, inputs)
    names: dict[str, Any] = {"input_names": ["features"], "output_names": ["probability"], "opset_version": OPSET}
    rows = {"features": {0: "rows"}, "probability": {0: "rows"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first exporter says that it will go some day
        try:
            torch.onnx.export(answer, (example,), str(path), dynamo=False, dynamic_axes=rows, **names)
        except Exception:  # noqa: BLE001 - whatever the old exporter cannot do, the new one may
            _export_slowly(answer, example, path, names)


def _export_slowly(answer: torch.nn.Module, example: torch.Tensor, path: Path, names: dict[str, Any]) -> None:
    shapes = ({0: torch.export.Dim("rows")},)
    try:
        torch.onnx.export(answer, (example,), str(path), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
    except Exception as error:
        raise ExportFailed(f"the torch model cannot be written as ONNX ({str(error).splitlines()[0]})") from error
