"""Answers as they leave: by the columns that the task names, in the Open Inference Protocol's form and in MLflow's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.core.tasks.answers import AnswerSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREDICTION_ID = "prediction_id"


class AnswerEncoder:
    """Writes one model's answers.

    Attributes:
        outputs: names of the output tensors: the answer's columns, numbers and words, and the prediction id.
    """

    def __init__(self, answers: AnswerSpec) -> None:
        self._answers = answers
        self._only = answers.names[0] if len(answers.names) == 1 else None  # the usual answer, on its shortest way
        self._types = {each.name: "FP32" if each.is_number else "BYTES" for each in answers.columns}
        self._types[PREDICTION_ID] = "BYTES"
        self.outputs = tuple(self._types)

    def tensors(
        self,
        answers: NDArray[np.float32],
        ids: Sequence[str],
        wanted: Sequence[str],
        *,
        request_id: str | None,
        model: str,
        version: str,
    ) -> bytes:
        """The Open Inference Protocol v2 response with the wanted outputs, in that order."""
        shape, columns = [len(ids), 1], self._columns(answers)
        columns[PREDICTION_ID] = ids
        answer: dict[str, object] = {"model_name": model, "model_version": version}
        if request_id is not None:
            answer["id"] = request_id
        answer["outputs"] = [
            {"name": name, "datatype": self._types[name], "shape": shape, "data": columns[name]} for name in wanted
        ]
        return msgspec.json.encode(answer)

    def predictions(self, answers: NDArray[np.float32], ids: Sequence[str], *, version: str) -> bytes:
        """MLflow's response: `predictions` is what `mlflow models serve` answers for the same model."""
        if (name := self._only) is not None:
            rows = [{name: value} for value in answers.reshape(-1).tolist()]
        else:
            columns = self._columns(answers)
            names = tuple(columns)
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return msgspec.json.encode({"predictions": rows, "prediction_ids": list(ids), "model_version": version})

    def metadata(self) -> list[dict[str, object]]:
        """The output tensors in the model metadata of the Open Inference Protocol."""
        return [{"name": name, "datatype": datatype, "shape": [-1, 1]} for name, datatype in self._types.items()]

    def _columns(self, answers: NDArray[np.float32]) -> dict[str, Sequence[Any]]:
        """Each column's values, in the order of the task. NaN becomes null in JSON."""
        if self._only is not None:
            return {self._only: answers.reshape(-1).tolist()}
        found: dict[str, Sequence[Any]] = {name: each.tolist() for name, each in self._answers.by_name(answers).items()}
        if self._answers.texts:
            found |= {name: each.tolist() for name, each in self._answers.words(answers).items()}
            found = {name: found[name] for name in self._answers.names}
        return found
