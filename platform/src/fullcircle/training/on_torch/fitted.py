"""The trained torch model: it predicts, and is exported as an ONNX graph in one file."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fullcircle.core.errors import ExportFailed
from fullcircle.core.project import Shape
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.tasks import Link
from fullcircle.training.on_torch.links import LINKS
from fullcircle.training.on_torch.models import to_model
from fullcircle.training.onnx_file import OPSET, save_normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_VALUES = 2**21


def chunk_rows(shape: Shape) -> int:
    """How many rows are answered at once: a bound on memory, not on speed."""
    return max(1, min(16384, _CHUNK_VALUES // math.prod(shape)))


class TorchFitted:
    """A trained torch model (`core.records.training.Fitted`)."""

    framework = "torch"

    def __init__(
        self, model: torch.nn.Module, shape: Shape, link: Link, history: tuple[EpochMetrics, ...], best_epoch: int
    ) -> None:
        self.history = history
        self.best_epoch = best_epoch
        self._answer = _ServedModel(model, shape, link).eval()
        self._shape, self._width = shape, link.numbers

    def answers(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers, float32 (rows,) or (rows, numbers) (`core.records.training.Fitted`)."""
        answer = np.empty((len(features), self._width), dtype=np.float32)
        step = chunk_rows(self._shape)
        with torch.inference_mode():
            for start in range(0, len(features), step):
                chunk = torch.from_numpy(np.ascontiguousarray(features[start : start + step], dtype=np.float32))
                answer[start : start + len(chunk)] = self._answer(chunk).numpy()
        return answer[:, 0] if self._width == 1 else answer

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: `features` (rows, *shape) to `answers` (rows, numbers).

        The TorchScript exporter takes 0.3 s, the newer one 6 s; the newer is asked when the first cannot do it.

        Raises:
            ExportFailed: neither exporter can write the model.
        """
        import onnx

        part = path.with_name(f"{path.name}.torch")
        try:
            _export(self._answer, self._shape, part)
            save_normalized(onnx.load(part), path)  # with its side file of weights, if there is one
        finally:
            for leftover in path.parent.glob(f"{part.name}*"):
                leftover.unlink()


class _ServedModel(torch.nn.Module):
    """The model as it is served: its outputs, through the link, as answers."""

    def __init__(self, model: torch.nn.Module, shape: Shape, link: Link) -> None:
        super().__init__()
        self.model = model
        self.shape = shape
        self.link = link

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.model(to_model(features, self.shape))
        return LINKS[self.link.name](outputs, self.link)


def _export(answer: torch.nn.Module, shape: Shape, path: Path) -> None:
    example = torch.zeros(2, *shape)
    names: dict[str, Any] = {"input_names": ["features"], "output_names": ["answers"], "opset_version": OPSET}
    rows = {"features": {0: "rows"}, "answers": {0: "rows"}}
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
